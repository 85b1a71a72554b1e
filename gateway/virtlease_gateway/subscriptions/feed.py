"""News from a streaming RPC, by the option that says which resources its events change."""

import asyncio
import logging
import random
from collections.abc import Iterator

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease.client import CallFailed
from virtlease_chassis.identity import Principal
from virtlease_gateway.backend import Backend
from virtlease_gateway.contracts import RpcWatch
from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.subscriptions.hub import Tell, Wanted
from virtlease_gateway.tools.wall import Wall

_FIRST_PAUSE, _LAST_PAUSE = 0.2, 10.0
_FINAL = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED})

log = logging.getLogger(__name__)


class Feed:
    """Watches in the name of one user, and goes on where it was when the stream ends or breaks."""

    def __init__(self, watch: RpcWatch, backend: Backend, wall: Wall) -> None:
        self._watch = watch
        self._backend = backend
        self._wall = wall

    async def run(self, user: Principal, tell: Tell, wanted: Wanted) -> None:
        """See `hub.Source`. Returns when the user may not watch, or the service cannot."""
        token = ""
        pause = _FIRST_PAUSE
        while True:
            try:
                async for response in self._backend.stream(self._request(token), user, endless=True):
                    pause = _FIRST_PAUSE
                    token = getattr(response, self._watch.resume_token)
                    for uri in self._changes(response):
                        await tell(uri)
            except CallFailed as failure:
                if failure.code in _FINAL:
                    log.info("%s is not watched for %s: %s", self._watch.name, user.name, failure)
                    return
                if failure.code is grpc.StatusCode.OUT_OF_RANGE:
                    token = ""  # some were missed: everything may have changed
                    for uri in wanted():
                        await tell(uri)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, _LAST_PAUSE)

    def _request(self, token: str) -> Message:
        request: Message = GetMessageClass(self._watch.method.input_type)()
        setattr(request, self._watch.resume_token, token)
        return request

    def _changes(self, response: Message) -> Iterator[str]:
        try:
            self._wall.sift(response)
        except ToolFailure:
            return
        seen = dict.fromkeys(
            uri for event in getattr(response, self._watch.events) for uri in self._watch.changed_by(event)
        )
        yield from seen
