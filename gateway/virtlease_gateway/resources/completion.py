"""Values for the variables of resource templates and the arguments of prompts, as the services list them."""

from collections.abc import Iterable, Mapping

from google.protobuf.message_factory import GetMessageClass
from mcp_types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from virtlease.client import CallFailed
from virtlease_gateway.backend import Backend
from virtlease_gateway.contracts import RpcCompletion
from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.tools.rpc_call import user_may
from virtlease_gateway.tools.wall import Wall
from virtlease_gateway.users import current_user

_MOST = 100


class Completer:
    """Answers `completion/complete`. What cannot be listed has no values: a completion is a convenience."""

    def __init__(self, sources: Iterable[tuple[RpcCompletion, Backend]], wall: Wall) -> None:
        self._sources = {(each.scheme, each.variable): (each, backend) for each, backend in sources}
        self._wall = wall

    async def complete(
        self,
        reference: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        """Values that begin with, or else contain, what was typed so far."""
        found = self._source(reference, argument.name)
        if found is None:
            return Completion(values=[])
        try:
            values = await self._values(*found, (context.arguments if context else None) or {})
        except (CallFailed, ToolFailure):
            values = []
        typed = argument.value.lower()
        fitting = sorted(
            {value for value in values if typed in value.lower()}, key=lambda v: (not v.lower().startswith(typed), v)
        )
        return Completion(values=fitting[:_MOST], total=len(fitting), has_more=len(fitting) > _MOST)

    def _source(
        self, reference: PromptReference | ResourceTemplateReference, variable: str
    ) -> tuple[RpcCompletion, Backend] | None:
        if isinstance(reference, ResourceTemplateReference):
            return self._sources.get((reference.uri.partition(":")[0], variable))
        return next((found for (_, name), found in self._sources.items() if name == variable), None)

    async def _values(self, completion: RpcCompletion, backend: Backend, given: Mapping[str, str]) -> list[str]:
        user = current_user()
        user_may(user, completion.scope)
        known = {name: given[name] for name in completion.given if given.get(name)}
        request = GetMessageClass(completion.method.input_type)(**known)
        self._wall.check(request)
        response = await backend.answer(request, user)
        self._wall.sift(response)
        return completion.read(response)
