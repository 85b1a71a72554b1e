"""Any replica serves any call: one that is for another replica is passed on, once.

A call with a lease goes to the replica that has it; one that names a hypervisor to the preferred owner of that, so that
its line of waiters and its connections are in one place; what operators do goes to all. A call that was passed on is
served where it lands.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.errors import NotFound
from virtlease_chassis.identity import current_caller
from virtlease_chassis.identity.principal import PRINCIPAL_HEADER
from virtlease_chassis.names import snake_case
from virtlease_chassis.rpc.calls import ShuttingDown
from virtlease_chassis.rpc.deadline import time_left
from virtlease_chassis.rpc.peer import call_metadata
from virtlease_chassis.status import Relayed
from virtlease_chassis.telemetry.propagation import outgoing
from virtlease_pool.errors import LeaseNotFound, LeaseUnreachable
from virtlease_pool.leases.lease_id import LeaseId
from virtlease_pool.model import VmRef
from virtlease_pool.operate import merge_pages
from virtlease_pool.peers import Peers

HOP_HEADER = "x-virtlease-hop"
_LONGEST_SECONDS = 3600.0
_EVERYWHERE = frozenset({"Pause", "Resume", "Drain", "Recycle"})
_HERE = frozenset({"HoldLeases", "WatchPool", "WatchVms", "ListHypervisors", "ListLeases", "KillLease"})

Answer: TypeAlias = Callable[[Message], Awaitable[Message]]
Stream: TypeAlias = Callable[[Message], AsyncIterator[Message]]


class Route:
    """Where the calls of one method go."""

    def __init__(self, method: MethodDescriptor, peers: Peers) -> None:
        self.name = method.name
        self.path = f"/{method.containing_service.full_name}/{method.name}"
        self._peers = peers
        self._serializers: dict[str, Any] = {
            "request_serializer": GetMessageClass(method.input_type).SerializeToString,
            "response_deserializer": GetMessageClass(method.output_type).FromString,
        }
        roles = {field.GetOptions().Extensions[tool_pb2.field].role: field.name for field in method.input_type.fields}
        self._lease = roles.get(tool_pb2.ROLE_LEASE)
        self._hypervisor = roles.get(tool_pb2.ROLE_HYPERVISOR)
        self._vm = roles.get(tool_pb2.ROLE_VM)
        # What may have had its effect at a replica that died is not tried at another one; a lease died with it.
        self._may_retry = tool_pb2.ROLE_REQUEST_ID not in roles or self.name == "AcquireLease"

    def replicas(self, request: Message) -> list[str]:
        """Who may serve it, in order; empty when that is for this replica to say."""
        if (lease_id := self._value(request, self._lease)) != "":
            try:
                holder = self._peers.holder_of(LeaseId.parse(lease_id).replica)
            except LeaseNotFound:
                return []
            return [holder] if holder else []
        hypervisor = self._value(request, self._hypervisor) or VmRef.parse(self._value(request, self._vm)).hypervisor
        return self._peers.ranked(hypervisor) if hypervisor else []

    def is_elsewhere(self, request: Message) -> bool:
        """Whether another replica is to serve it."""
        return self._candidates(request)[0] != self._peers.own

    async def answer(self, request: Message, serve: Answer, principal: str = "") -> Message:
        """The response, from whoever is to give it. Raises what it fails with there."""
        for name in self._candidates(request):
            if name == self._peers.own:
                return await serve(request)
            try:
                return await self.ask(name, request, principal)
            except grpc.aio.AioRpcError as error:
                self._judge(name, request, error)
        raise ShuttingDown

    async def stream(
        self, request: Message, serve: Callable[[Message], AsyncIterator[Message]]
    ) -> AsyncIterator[Message]:
        """The responses, from whoever is to give them."""
        for name in self._candidates(request):
            if name == self._peers.own:
                async for message in serve(request):
                    yield message
                return
            call = self._peers.channel(name).unary_stream(self.path, **self._serializers)
            begun = False
            try:
                async for message in call(request, timeout=time_left(_LONGEST_SECONDS), metadata=_metadata("")):
                    begun = True
                    yield message
                return
            except grpc.aio.AioRpcError as error:
                if begun:
                    raise Relayed.of(error) from error
                self._judge(name, request, error)
        raise ShuttingDown

    async def ask(self, name: str, request: Message, principal: str = "") -> Message:
        """The response of one other replica. Raises AioRpcError."""
        call = self._peers.channel(name).unary_unary(self.path, **self._serializers)
        response: Message = await call(request, timeout=time_left(_LONGEST_SECONDS), metadata=_metadata(principal))
        return response

    def _candidates(self, request: Message) -> list[str]:
        if self._peers.alone or HOP_HEADER in call_metadata.get():
            return [self._peers.own]
        if self._value(request, self._lease) == "" and self._peers.draining and not self._peers.others:
            raise ShuttingDown
        return self.replicas(request) or [self._peers.own]

    def _judge(self, name: str, request: Message, error: grpc.aio.AioRpcError) -> None:
        """Returns when the next replica may be asked. Raises what the caller is to be told otherwise."""
        relayed = Relayed.of(error)
        refused = relayed.told_reason in ("SHUTTING_DOWN", "POOL_CLOSED")
        silent = error.code() is grpc.StatusCode.UNAVAILABLE and not relayed.told_reason
        if silent or refused:
            self._peers.lost(name)
            if self._value(request, self._lease) != "":
                raise LeaseUnreachable(name) from error
            if refused or self._may_retry:
                return
        raise relayed from error

    def _value(self, request: Message, field: str | None) -> str:
        return str(getattr(request, field)) if field else ""


class Routed:
    """A servicer before which every call is sent to where it belongs."""

    def __init__(self, service: ServiceDescriptor, servicer: Any, peers: Peers) -> None:
        self._peers = peers
        for method in service.methods:
            name = snake_case(method.name)
            if (serve := getattr(servicer, name, None)) is not None:
                setattr(self, name, self._wrap(Route(method, peers), method, serve))

    def _wrap(self, route: Route, method: MethodDescriptor, serve: Any) -> Any:
        if method.name == "KillLease":
            return lambda request: self._first(route, request, serve)
        if method.name == "ListLeases":
            return lambda request: self._gathered(route, request, serve)
        if method.name in _HERE:
            return serve
        if method.server_streaming:
            return lambda request: route.stream(request, serve)
        if method.name in _EVERYWHERE:
            return lambda request: self._everywhere(route, request, serve)
        return lambda request: route.answer(request, serve)

    async def _everywhere(self, route: Route, request: Message, serve: Answer) -> Message:
        """Done by all replicas; answered by the preferred owner."""
        if self._is_here():
            return await serve(request)
        others = self._peers.others
        mine, *theirs = await asyncio.gather(serve(request), *(route.ask(name, request) for name in others))
        by_name = dict(zip([self._peers.own, *others], [mine, *theirs], strict=True))
        return next((by_name[name] for name in route.replicas(request) if name in by_name), mine)

    async def _first(self, route: Route, request: Message, serve: Answer) -> Message:
        """Done by the replica that knows it."""
        try:
            return await serve(request)
        except NotFound:
            if self._is_here():
                raise
            for name in self._peers.others:
                try:
                    return await route.ask(name, request)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.NOT_FOUND:
                        raise Relayed.of(error) from error
            raise

    async def _gathered(self, route: Route, request: Any, serve: Callable[[Any], Awaitable[Any]]) -> Any:
        """A page of what all replicas have. One that does not answer is left out, as its leases may be."""
        mine = await serve(request)
        if self._is_here():
            return mine
        answers: list[Any] = await asyncio.gather(
            *(route.ask(name, request) for name in self._peers.others), return_exceptions=True
        )
        pages = [mine, *(answer for answer in answers if isinstance(answer, Message))]
        return merge_pages(request, pages, current_caller.get())

    def _is_here(self) -> bool:
        return self._peers.alone or HOP_HEADER in call_metadata.get()


def _metadata(principal: str) -> tuple[tuple[str, str], ...]:
    """Who is calling, in which trace, and that it was passed on."""
    given = call_metadata.get()
    caller = current_caller.get()
    metadata = [(HOP_HEADER, "1"), *outgoing()]
    if authorization := given.get("authorization"):
        metadata.append(("authorization", str(authorization)))
    if principal or PRINCIPAL_HEADER in given:
        metadata.append((PRINCIPAL_HEADER, principal or str(given[PRINCIPAL_HEADER])))
    elif caller.authenticated and not authorization:
        # Known by a certificate, which cannot be passed on: this replica speaks for them.
        metadata.append((PRINCIPAL_HEADER, caller.principal.to_header()))
    return tuple(metadata)
