"""The calls of the pool service. They run on the loop thread."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from virtlease.client.advice import advising
from virtlease.client.errors import CallFailed, ServiceUnavailable
from virtlease.client.pool.commands import Command
from virtlease.client.target import Target
from virtlease.pool.v1 import hypervisor_pb2

Metadata = Sequence[tuple[str, str]]
_SERVICE = "/virtlease.pool.v1.PoolService"

# For so long, in seconds, a service that was there is tried again: a replica that restarts is back by then.
_PATIENCE = 5.0
_FIRST_BACKOFF = 0.05
_LAST_BACKOFF = 1.0

# Reasons for which another try a moment later is what the service asks for.
_PASSING = frozenset({"", "SHUTTING_DOWN"})


class PoolCalls:
    """Each call raises CallFailed. `trace` is the metadata that carries the trace of the caller."""

    def __init__(self, channel: grpc.aio.Channel, target: Target) -> None:
        self._channel = channel
        self._target = target
        self._methods: dict[str, Any] = {}
        self._answered = False  # once it was, the service is worth some patience when it is gone

    async def stats(self, timeout: float, trace: Metadata) -> list[hypervisor_pb2.PoolStats]:
        """How busy the pools are."""
        request = hypervisor_pb2.GetPoolStatsRequest()
        response = await self._again("GetPoolStats", request, hypervisor_pb2.GetPoolStatsResponse, timeout, trace)
        return list(response.pools)

    async def run(
        self,
        command: Command,
        request: Message,
        timeout: float,
        trace: Metadata,
        progress: Callable[[Any], None] | None,
    ) -> Any:
        """Runs a VM command and returns its result; tells its progress, if it does."""
        if command.streams:
            with advising("pool", self._target):
                return await self._stream(command, request, timeout, trace, progress)
        # It only reads, or it carries a request id.
        return await self._again(command.path, request, command.response_class, timeout, trace)

    async def _stream(
        self, command: Command, request: Message, timeout: float, trace: Metadata, tell: Callable[[Any], None] | None
    ) -> Any:
        method = self._channel.unary_stream(
            command.path,
            request_serializer=command.request_class.SerializeToString,
            response_deserializer=command.response_class.FromString,
        )
        result = None
        try:
            async for response in method(request, timeout=timeout, metadata=self._metadata(trace)):
                progress, found = command.event(response)
                if progress is not None and tell is not None:
                    tell(progress)
                result = found if found is not None else result
        except grpc.aio.AioRpcError as error:
            raise CallFailed.from_rpc_error(error) from None
        return result

    async def _again(self, name: str, request: Any, kind: Any, timeout: float, trace: Metadata) -> Any:
        """A call that may be sent again, within its time, when the service goes away under it."""
        end = time.monotonic() + timeout
        patient_until = min(end, time.monotonic() + _PATIENCE)
        backoff = _FIRST_BACKOFF
        while True:
            try:
                return await self._once(name, request, kind, max(end - time.monotonic(), 0.001), trace)
            except ServiceUnavailable as failure:
                pause = failure.retry_after or backoff * random.uniform(0.5, 1.0)
                passing = self._answered and failure.reason in _PASSING
                if not passing or time.monotonic() + pause >= patient_until:
                    raise
            await asyncio.sleep(pause)
            backoff = min(backoff * 2, _LAST_BACKOFF)

    async def _once(self, name: str, request: Any, kind: Any, timeout: float, trace: Metadata) -> Any:
        path = name if name.startswith("/") else f"{_SERVICE}/{name}"
        if path not in self._methods:
            self._methods[path] = self._channel.unary_unary(
                path, request_serializer=type(request).SerializeToString, response_deserializer=kind.FromString
            )
        with advising("pool", self._target):
            try:
                response = await self._methods[path](request, timeout=timeout, metadata=self._metadata(trace))
            except grpc.aio.AioRpcError as error:
                failure = CallFailed.from_rpc_error(error)
                self._answered = self._answered or bool(failure.reason)
                raise failure from None
        self._answered = True
        return response

    def _metadata(self, trace: Metadata) -> tuple[tuple[str, str], ...]:
        return (*self._target.metadata(), *trace)
