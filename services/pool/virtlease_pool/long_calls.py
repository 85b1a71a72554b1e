"""Calls that take long: their progress, and what becomes of them when their caller goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.errors import DomainError
from virtlease_pool.model import JobProgress
from virtlease_pool.vm_calls import Place

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 2.0
_STARTED = JobProgress(None, "started")


class LongAnswer:
    """Makes the messages of a stream that tells progress and ends with a result."""

    def __init__(self, method: MethodDescriptor) -> None:
        self._message: Any = GetMessageClass(method.output_type)
        by_role = {
            field.GetOptions().Extensions[tool_pb2.field].role: field.name for field in method.output_type.fields
        }
        self._progress = by_role[tool_pb2.ROLE_PROGRESS]
        self._result = by_role[tool_pb2.ROLE_RESULT]

    def progress(self, progress: JobProgress) -> Message:
        """How far the call has come."""
        message: Message = self._message(**{self._progress: {"message": progress.message}})
        if progress.fraction is not None:
            getattr(message, self._progress).fraction = progress.fraction
        return message

    def result(self, result: Message) -> Message:
        """What came of it."""
        message: Message = self._message(**{self._result: result})
        return message


async def follow(work: "asyncio.Task[Any]", place: Place) -> AsyncIterator[JobProgress]:
    """Tells the progress of a call until it has ended. When nobody listens any more, the call is taken back.

    libvirt is asked over the control connection: the call's own is busy with it.
    """
    try:
        yield _STARTED
        told = _STARTED
        while not work.done():
            await asyncio.wait((work,), timeout=_LOOK_SECONDS)
            if not work.done() and (progress := await _progress(place)) is not None and progress != told:
                told = progress
                yield progress
    finally:
        if not work.done():
            work.cancel()
            await _abort(place)


async def _progress(place: Place) -> JobProgress | None:
    if place.hypervisor is None or place.vm is None:
        return None
    driver, vm = place.hypervisor.driver, place.vm
    with contextlib.suppress(DomainError, TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await place.hypervisor.control.run(lambda handle: driver.progress(handle, vm))
    return None


async def _abort(place: Place) -> None:
    if place.hypervisor is None or place.vm is None:
        return
    driver, vm = place.hypervisor.driver, place.vm
    with contextlib.suppress(DomainError, TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            await place.hypervisor.control.run(lambda handle: driver.abort(handle, vm))
