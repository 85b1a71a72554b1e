"""An RPC as a tool: what its option and its comment say."""

from dataclasses import dataclass
from enum import Enum

from google.protobuf.descriptor import MethodDescriptor

from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.names import snake_case


class Effect(Enum):
    """What a call does to the world."""

    READ = tool_pb2.EFFECT_READ
    WRITE = tool_pb2.EFFECT_WRITE
    DESTRUCTIVE = tool_pb2.EFFECT_DESTRUCTIVE


@dataclass(frozen=True, slots=True)
class RpcTool:
    """What a tool caller is told of an RPC, and what the gateway has to know of it."""

    name: str
    title: str
    description: str
    effect: Effect
    idempotent: bool
    open_world: bool
    aliases: tuple[str, ...]
    toolset: str
    scope: str
    method: MethodDescriptor
    planned_by: MethodDescriptor | None

    @classmethod
    def of(cls, method: MethodDescriptor, comment: str) -> "RpcTool | None":
        """Reads a method's option. None for a method that is no tool. Raises KeyError when its planner is missing."""
        option = method.GetOptions().Extensions[tool_pb2.tool]
        if option.effect == tool_pb2.EFFECT_UNSPECIFIED:
            return None
        name = snake_case(method.name)
        effect = Effect(option.effect)
        return cls(
            name=name,
            title=option.title or name.replace("_", " ").capitalize(),
            description=comment,
            effect=effect,
            idempotent=option.idempotent,
            open_world=option.open_world,
            aliases=tuple(option.aliases),
            toolset=option.toolset,
            scope=option.scope or f"tools:{effect.name.lower()}",
            method=method,
            planned_by=method.containing_service.methods_by_name[option.planned_by] if option.planned_by else None,
        )
