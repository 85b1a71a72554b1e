"""Keeps calls from hypervisors that this deployment does not offer, by the roles of fields."""

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from virtlease.tool.v1 import tool_pb2
from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.policy import HypervisorPolicy
from virtlease_gateway.translate import BadArguments
from virtlease_gateway.translate.scalars import refuse
from virtlease_gateway.translate.shape import options_of


class Wall:
    """Checks requests before they go out and responses before they come in. For a policy that restricts nothing it
    looks at neither."""

    def __init__(self, policy: HypervisorPolicy) -> None:
        self._policy = policy

    def check(self, request: Message) -> None:
        """Raises BadArguments for a VM that does not say its hypervisor, ToolFailure for one that is not offered."""
        if self._policy.restricts:
            for name, role, value in _names(request):
                self._check_one(name, role, value)

    def sift(self, response: Message) -> None:
        """Takes out of lists what is of other hypervisors. Raises ToolFailure when the response itself is."""
        if not self._policy.restricts:
            return
        if not self._admits(response):
            raise _not_offered("the answer")
        for field, value in response.ListFields():
            if field.message_type is None or field.message_type.GetOptions().map_entry:
                continue
            if field.is_repeated:
                kept = [item for item in value if self._admits(item)]
                if len(kept) < len(value):
                    del value[:]
                    value.extend(kept)
            for item in value if field.is_repeated else (value,):
                self.sift(item)

    def _check_one(self, name: str, role: int, value: str) -> None:
        hypervisor, slash, _ = value.partition("/")
        if role == tool_pb2.ROLE_VM and not slash:
            refuse(name, "say which hypervisor: hypervisor/name")
        if not self._policy.permits(hypervisor):
            raise _not_offered(hypervisor)

    def _admits(self, message: Message) -> bool:
        try:
            for name, role, value in _names(message):
                self._check_one(name, role, value)
        except (ToolFailure, BadArguments):
            return False
        return True


def _names(message: Message) -> Iterator[tuple[str, int, str]]:
    """The VMs and hypervisors that a message's own fields name: field, role and name."""
    for field, value in message.ListFields():
        role = options_of(field).role
        if role in (tool_pb2.ROLE_VM, tool_pb2.ROLE_HYPERVISOR):
            values: Any = value if field.is_repeated else (value,)
            for each in values:
                yield field.name, role, each


def _not_offered(what: str) -> ToolFailure:
    return ToolFailure("PERMISSION_DENIED", "HYPERVISOR_NOT_OFFERED", f"{what} is of a hypervisor that is not offered")
