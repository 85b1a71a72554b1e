"""Running a command: where, on which connection, and once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from virtlease_chassis.errors import DomainError, InvalidArgument
from virtlease_chassis.wire import fingerprint
from virtlease_pool.acquire import Acquire
from virtlease_pool.driver.commands import Command, Host
from virtlease_pool.errors import CallsInFlight, ConnectionBroke, OutcomeUnknown
from virtlease_pool.hypervisors import Hypervisor, Hypervisors
from virtlease_pool.in_flight import Permits
from virtlease_pool.leases import Lease, LeaseTable
from virtlease_pool.locate import locate
from virtlease_pool.model import VmRef
from virtlease_pool.once import Once
from virtlease_pool.request_fields import RequestFields

T = TypeVar("T")


@dataclass(slots=True)
class Place:
    """Where a call runs, as soon as that is known."""

    hypervisor: Hypervisor | None = None
    vm: VmRef | None = None


class VmCalls:
    """The use case behind every RPC of VmService."""

    def __init__(
        self, hypervisors: Hypervisors, leases: LeaseTable, acquire: Acquire, once: Once, tracer: trace.Tracer
    ) -> None:
        self._hypervisors = hypervisors
        self._leases = leases
        self._acquire = acquire
        self._once = once
        self._tracer = tracer

    async def call(
        self, command: Command, request: Message, fields: RequestFields, owner: str, place: Place | None = None
    ) -> Message:
        """Runs a command for an owner and returns its response; one with a request id, once.

        Where it runs is written to `place`, once that is known.

        Raises OutcomeUnknown when the connection broke under a write: it may have had its effect.
        """
        if not fields.request_id:
            return await self._call(command, request, fields, owner, place)
        return await self._once.run(
            owner,
            command.name,
            fields.request_id,
            fingerprint(request),
            lambda: self._call(command, request, fields, owner, place),
        )

    async def call_host(
        self, command: Command, request: Message, hypervisor: Hypervisor, lease: Lease | None
    ) -> Message:
        """Runs a command that acts on a host."""
        return await self._on_connection(
            hypervisor, lease, command.name, lambda handle, _: command.function(Host(hypervisor.name, handle), request)
        )

    def lease_of(self, fields: RequestFields, owner: str) -> Lease | None:
        """The lease that a request names, if it names one. Raises what `LeaseTable.find` raises."""
        return self._leases.find(owner, fields.lease_id) if fields.lease_id else None

    async def _call(
        self, command: Command, request: Message, fields: RequestFields, owner: str, place: Place | None
    ) -> Message:
        lease = self.lease_of(fields, owner)
        if command.acts_on is Host:
            return await self.call_host(command, request, self._host(fields, lease), lease)
        hypervisor, ref = await locate(self._hypervisors, fields, lease, self._find)

        if place is not None:
            place.hypervisor, place.vm = hypervisor, VmRef(hypervisor.name, ref.name)

        def act(handle: Any, permits: Permits) -> Message:
            vm = Host(hypervisor.name, handle).vm(ref)
            with hypervisor.in_flight.enter(permits, vm.domain.UUIDString()):
                if fields.if_state:
                    vm.check_state(fields.if_state)
                return command.function(vm, request)

        try:
            return await self._on_connection(hypervisor, lease, command.name, act)
        except ConnectionBroke as error:
            if fields.writes:
                raise OutcomeUnknown(hypervisor.name) from error
            if lease is not None:
                raise
            # A connection may have died while it was idle; a read may be tried on another one.
            return await self._on_connection(hypervisor, lease, command.name, act)

    async def _find(self, hypervisor: Hypervisor, ref: VmRef) -> str:
        """The UUID of a VM on this hypervisor. Raises VmNotFound."""

        def find(handle: Any, _: Permits) -> str:
            return str(Host(hypervisor.name, handle).vm(ref).domain.UUIDString())

        return await self._on_connection(hypervisor, None, "find_vm", find)

    def _host(self, fields: RequestFields, lease: Lease | None) -> Hypervisor:
        """The hypervisor that a request means: by its name, a VM's or a lease's, or the only one there is."""
        named = {fields.hypervisor, VmRef.parse(fields.vm_id).hypervisor, lease.terms.hypervisor if lease else ""} - {
            ""
        }
        if len(named) > 1:
            raise InvalidArgument("hypervisor", f"the request names several: {', '.join(sorted(named))}")
        if named:
            return self._hypervisors.leased(named.pop()) if lease else self._hypervisors[named.pop()]
        if len(self._hypervisors) == 1:
            return next(iter(self._hypervisors))
        raise InvalidArgument("hypervisor", "say which one; there are several")

    async def _on_connection(
        self, hypervisor: Hypervisor, lease: Lease | None, name: str, act: Callable[[Any, Permits], T]
    ) -> T:
        attributes = {"virtlease.hypervisor": hypervisor.name}
        with (
            self._tracer.start_as_current_span(f"libvirt {name}", kind=SpanKind.CLIENT, attributes=attributes),
            Permits() as permits,
        ):

            def counted(handle: Any) -> T:
                with hypervisor.in_flight.enter(permits):
                    return act(handle, permits)

            if lease is None:
                return await self._when_there_is_room(
                    hypervisor, permits, lambda: self._on_loan(hypervisor, name, counted)
                )
            async with lease.turn(name):
                return await self._when_there_is_room(hypervisor, permits, lambda: self._on_lease(lease, counted))

    async def _when_there_is_room(
        self, hypervisor: Hypervisor, permits: Permits, attempt: Callable[[], Awaitable[T]]
    ) -> T:
        """Tries, and again when one of the calls has come back that were too many."""
        while True:
            try:
                return await attempt()
            except CallsInFlight as full:
                permits.add(full.vm, await hypervisor.in_flight.wait(full, self._acquire.patience(None)))

    async def _on_lease(self, lease: Lease, act: Callable[[Any], T]) -> T:
        try:
            return await lease.run(act)
        except ConnectionBroke:
            self._leases.end_broken(lease)
            raise

    async def _on_loan(self, hypervisor: Hypervisor, name: str, act: Callable[[Any], T]) -> T:
        loan = await hypervisor.pool.acquire(self._acquire.patience(None), name)
        discard = "abandoned"  # the caller went away, and the call runs on
        try:
            result = await loan.connection.run(act)
            discard = ""
        except ConnectionBroke:
            discard = "broken"
            raise
        except DomainError:
            discard = ""  # the hypervisor said no, and the connection is none the worse for it
            raise
        finally:
            loan.give_back(discard)
        return result
