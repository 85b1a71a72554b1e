"""What a destructive call would do, as the service says that will carry it out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.identity import Principal
from virtlease_gateway.backend import Backend
from virtlease_gateway.contracts import RpcTool
from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.translate.shape import options_of

_COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen, and to what: `digest` stands for the state that it was made from."""

    summary: str
    losses: tuple[str, ...] = ()
    digest: str = ""
    vm_id: str = ""
    uuid: str = ""
    state: int = 0

    @property
    def text(self) -> str:
        """In words, for whoever has to say yes."""
        return "\n".join([self.summary, *(f"- lost: {loss}" for loss in self.losses)])


class Planner:
    """Makes the plans of one tool. `backend` calls the RPC that plans it; without one the arguments are the plan."""

    def __init__(self, tool: RpcTool, backend: Backend | None) -> None:
        self._tool = tool
        self._backend = backend

    async def plan(self, request: Message, arguments: Mapping[str, Any], user: Principal) -> Plan:
        """What the request would do. Raises CallFailed, also when it could not be carried out as things are."""
        if self._backend is None or self._tool.planned_by is None:
            given = json.dumps(arguments, ensure_ascii=False, sort_keys=True)
            return Plan(f"{self._tool.title}: {self._tool.description} Arguments: {given}")
        asked = GetMessageClass(self._tool.planned_by.input_type)()
        for field in self._tool.planned_by.input_type.fields:
            shared = request.DESCRIPTOR.fields_by_name.get(field.name)
            if shared is not None and shared.type == field.type:
                setattr(asked, field.name, getattr(request, field.name))
        setattr(asked, _COMMAND, self._tool.name)
        return _read(await self._backend.answer(asked, user))

    def bind(self, request: Message, plan: Plan) -> None:
        """Makes the request mean the very VM that was planned for, in the state that it was found in.

        Raises ToolFailure when the caller asked for another state.
        """
        for field in _fields(request):
            role = options_of(field).role
            if role == tool_pb2.ROLE_VM and plan.uuid:
                hypervisor, _, _ = plan.vm_id.partition("/")
                setattr(request, field.name, f"{hypervisor}/{plan.uuid}")
            elif role == tool_pb2.ROLE_IF_STATE and plan.state:
                if getattr(request, field.name) not in (0, plan.state):
                    raise ToolFailure("FAILED_PRECONDITION", "STATE_MISMATCH", f"{field.name}: it is in another state")
                setattr(request, field.name, plan.state)


def _read(response: Message) -> Plan:
    """Reads a plan by the roles of its fields, and of those of the messages in it."""
    found: dict[int, Any] = {}
    for message in (response, *_inner(response)):
        for field in _fields(message):
            found.setdefault(options_of(field).role, getattr(message, field.name))
    return Plan(
        summary=found.get(tool_pb2.ROLE_SUMMARY, ""),
        losses=tuple(found.get(tool_pb2.ROLE_LOSSES, ())),
        digest=found.get(tool_pb2.ROLE_DIGEST, ""),
        vm_id=found.get(tool_pb2.ROLE_VM, ""),
        uuid=found.get(tool_pb2.ROLE_UUID, ""),
        state=found.get(tool_pb2.ROLE_STATE, 0),
    )


def _inner(message: Message) -> list[Message]:
    return [value for field, value in message.ListFields() if field.message_type is not None and not field.is_repeated]


def _fields(message: Message) -> Sequence[FieldDescriptor]:
    fields: Sequence[FieldDescriptor] = message.DESCRIPTOR.fields  # type: ignore[assignment]  # the C class is the same
    return fields
