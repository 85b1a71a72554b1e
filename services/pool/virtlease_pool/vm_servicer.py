"""The RPCs of VmService: each is a command of its name, and a list goes to all hypervisors."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from virtlease.pool.v1 import vm_inspection_pb2 as calls
from virtlease.pool.v1 import vm_watch_pb2
from virtlease_chassis import page_token
from virtlease_chassis.errors import DomainError, InvalidArgument
from virtlease_chassis.identity import current_caller
from virtlease_chassis.names import snake_case
from virtlease_chassis.rpc.deadline import time_left
from virtlease_pool.driver.commands import COMMANDS, Command
from virtlease_pool.hypervisors import Hypervisor, Hypervisors
from virtlease_pool.leases import Lease
from virtlease_pool.long_calls import LongAnswer, follow
from virtlease_pool.model import Health
from virtlease_pool.request_fields import RequestFields, RequestReader
from virtlease_pool.vm_calls import Place, VmCalls
from virtlease_pool.watch_vms import watch_vms

_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000

Serve: TypeAlias = Callable[[Message], Awaitable[Message] | AsyncIterator[Message]]

# What one hypervisor is given to list its VMs: one that hangs must not hide the others.
_LIST_SECONDS = 10.0


class VmServicer:
    """Has a method for each RPC for which there is a command; the others answer UNIMPLEMENTED."""

    def __init__(self, service: ServiceDescriptor, vm_calls: VmCalls, hypervisors: Hypervisors) -> None:
        self._vm_calls = vm_calls
        self._hypervisors = hypervisors
        for method in service.methods:
            command = COMMANDS.get(snake_case(method.name))
            if command is not None and not hasattr(self, command.name):
                setattr(self, command.name, self._serve(command, method))

    async def list_vms(self, request: calls.ListVmsRequest) -> calls.ListVmsResponse:
        if not 0 <= request.page_size <= _LARGEST_PAGE:
            raise InvalidArgument("page_size", f"between 0 and {_LARGEST_PAGE}")
        owner = current_caller.get().principal.name
        lease = self._vm_calls.lease_of(RequestFields(lease_id=request.lease_id), owner)
        selection = [request.hypervisor, request.name_contains, sorted(request.states)]
        after = page_token.decode(request.page_token, selection)
        if lease and request.hypervisor not in ("", lease.terms.hypervisor):
            raise InvalidArgument("hypervisor", f"the lease leads to {lease.terms.hypervisor!r}")
        selected = self._hypervisors.selected(lease.terms.hypervisor if lease else request.hypervisor)
        answers = await asyncio.gather(*(self._list_on(each, request, lease) for each in selected))
        found = sorted((vm for answer in answers for vm in answer.vms if vm.vm_id > after), key=lambda vm: vm.vm_id)
        size = request.page_size or _DEFAULT_PAGE
        page = found[:size]
        return calls.ListVmsResponse(
            vms=page,
            next_page_token=page_token.encode(page[-1].vm_id, selection) if len(found) > size else "",
            unreachable=[each for answer in answers for each in answer.unreachable],
        )

    def watch_vms(self, request: vm_watch_pb2.WatchVmsRequest) -> AsyncIterator[vm_watch_pb2.WatchVmsResponse]:
        return watch_vms(self._hypervisors, self._hypervisors.vm_events, request)

    async def _list_on(
        self, hypervisor: Hypervisor, request: calls.ListVmsRequest, lease: Lease | None
    ) -> calls.ListVmsResponse:
        """The VMs of one hypervisor, or why they are missing."""
        if hypervisor.control.health is Health.DOWN:
            return _unreachable(hypervisor, hypervisor.control.reason)
        try:
            async with asyncio.timeout(time_left(_LIST_SECONDS)):
                answer = await self._vm_calls.call_host(COMMANDS["list_vms"], request, hypervisor, lease)
        except TimeoutError:
            return _unreachable(hypervisor, "it did not answer in time")
        except DomainError as error:
            if lease is not None:
                raise
            return _unreachable(hypervisor, error.message)
        assert isinstance(answer, calls.ListVmsResponse)
        return answer

    def _serve(self, command: Command, method: MethodDescriptor) -> Serve:
        reader = RequestReader(method)
        if method.server_streaming:
            return self._serve_long(command, method, reader)

        def serve(request: Message) -> Awaitable[Message]:
            return self._vm_calls.call(command, request, reader.read(request), current_caller.get().principal.name)

        return serve

    def _serve_long(
        self, command: Command, method: MethodDescriptor, reader: RequestReader
    ) -> Callable[[Message], AsyncIterator[Message]]:
        """A command whose progress is told while it runs."""
        shape = LongAnswer(method)

        async def serve(request: Message) -> AsyncIterator[Message]:
            place = Place()
            owner = current_caller.get().principal.name
            work = asyncio.create_task(self._vm_calls.call(command, request, reader.read(request), owner, place))
            async for progress in follow(work, place):
                yield shape.progress(progress)
            yield shape.result(await work)

        return serve


def _unreachable(hypervisor: Hypervisor, reason: str) -> calls.ListVmsResponse:
    return calls.ListVmsResponse(unreachable=[calls.UnreachableHypervisor(hypervisor=hypervisor.name, reason=reason)])
