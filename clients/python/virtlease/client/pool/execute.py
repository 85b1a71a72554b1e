"""Running a command on a leased connection. What each command takes and returns stands in execute.pyi, by its name."""

import asyncio
import queue
from typing import Any

from virtlease.client.pool.connection import BaseConnection, Progress
from virtlease.client.trace import trace_metadata

_END = object()


class Execute(BaseConnection):
    """For callers without an event loop."""

    def execute_command(
        self, command: str, /, *, timeout: float | None = None, progress: Progress | None = None, **arguments: Any
    ) -> Any:
        """See `AsyncExecute.execute_command`. `progress` is called in the calling thread."""
        found, request = self._prepared(command, arguments)
        steps: queue.SimpleQueue[Any] = queue.SimpleQueue()
        future = self._thread.submit(self._run(found, request, timeout, trace_metadata(), steps.put))
        future.add_done_callback(lambda _: steps.put(_END))
        try:
            while (step := steps.get()) is not _END:
                if progress is not None:
                    progress(step)
            return future.result()
        except BaseException:
            future.cancel()  # a KeyboardInterrupt, or a callback that raised
            raise


class AsyncExecute(BaseConnection):
    """For callers on an event loop."""

    async def execute_command(
        self, command: str, /, *, timeout: float | None = None, progress: Progress | None = None, **arguments: Any
    ) -> Any:
        """Runs a VM command on this connection and returns its result, the message that the contract gives it.

        Args:
            command: the name of a command or an alias, such as `start_vm` or `vm_info`.
            timeout: how long it may take, in seconds; the pool's timeout when absent, ten minutes for a command that
                tells of its progress.
            progress: is called with each Progress of a command that tells of it.
            arguments: the fields of its request. The VM, the lease and the request id are filled in; enums may be
                given by name, durations in seconds.

        Raises LeaseLost when the lease is over, CallFailed for what the service refuses, ValueError for an unknown
        command, TypeError for an unknown argument. A cancel is passed on to the hypervisor where that can be done.
        """
        found, request = self._prepared(command, arguments)
        tell = None
        if progress is not None:
            loop, told = asyncio.get_running_loop(), progress

            def tell(step: Any) -> None:
                loop.call_soon_threadsafe(told, step)

        return await self._thread.wait(self._run(found, request, timeout, trace_metadata(), tell))
