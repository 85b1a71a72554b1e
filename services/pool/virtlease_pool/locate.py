"""Finding the VM that a request means."""

import asyncio
from collections.abc import Awaitable, Callable

from virtlease_chassis.errors import DomainError, InvalidArgument
from virtlease_pool.errors import VmAmbiguous, VmNotFound, WrongHypervisor
from virtlease_pool.hypervisors import Hypervisor, Hypervisors
from virtlease_pool.leases import Lease
from virtlease_pool.model import VmRef
from virtlease_pool.request_fields import RequestFields

Find = Callable[[Hypervisor, VmRef], Awaitable[str]]
"""Returns the UUID of a VM on a hypervisor. Raises VmNotFound when it has none of that name."""


async def locate(
    hypervisors: Hypervisors, fields: RequestFields, lease: Lease | None, find: Find
) -> tuple[Hypervisor, VmRef]:
    """The hypervisor and the VM on it.

    A bare name is searched for on all hypervisors, and the one VM that is found is bound to by its UUID.

    Raises InvalidArgument, HypervisorNotFound, WrongHypervisor, VmNotFound, and VmAmbiguous when several VMs have the
    name, or when a write cannot be sure that only one has, since a hypervisor did not answer.
    """
    ref = VmRef.parse(fields.vm_id)
    if not ref.name:
        raise InvalidArgument("vm_id", "expected hypervisor/name")
    if lease is not None:
        return _on_lease(hypervisors, ref, lease)
    if ref.hypervisor:
        return hypervisors[ref.hypervisor], ref
    if len(hypervisors) == 1:
        return next(iter(hypervisors)), ref
    return await _search(hypervisors, ref, find, certain=fields.writes)


def _on_lease(hypervisors: Hypervisors, ref: VmRef, lease: Lease) -> tuple[Hypervisor, VmRef]:
    leads_to = lease.terms.hypervisor
    if ref.hypervisor and ref.hypervisor != leads_to:
        raise WrongHypervisor(leads_to, ref.hypervisor)
    return hypervisors.leased(leads_to), ref


async def _search(hypervisors: Hypervisors, ref: VmRef, find: Find, *, certain: bool) -> tuple[Hypervisor, VmRef]:
    everywhere = list(hypervisors)
    answers = await asyncio.gather(*(find(hypervisor, ref) for hypervisor in everywhere), return_exceptions=True)
    found: list[tuple[Hypervisor, VmRef]] = []
    silent: list[str] = []
    for hypervisor, answer in zip(everywhere, answers, strict=True):
        if isinstance(answer, str):
            found.append((hypervisor, VmRef(hypervisor.name, answer)))
        elif isinstance(answer, DomainError) and not isinstance(answer, VmNotFound):
            silent.append(hypervisor.name)
        elif not isinstance(answer, VmNotFound):
            raise answer
    candidates = [f"{hypervisor.name}/{ref.name}" for hypervisor, _ in found]
    if len(found) > 1:
        raise VmAmbiguous(ref.name, f"several VMs have this name; say which: {', '.join(candidates)}", candidates)
    if silent and (certain or not found):
        raise VmAmbiguous(
            ref.name,
            f"cannot tell which VM {ref.name!r} is, since {', '.join(silent)} did not answer; say hypervisor/name",
            candidates,
        )
    if not found:
        raise VmNotFound(ref.name)
    return found[0]
