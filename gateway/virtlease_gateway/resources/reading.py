"""One RPC as the reading of a resource: translate, call, translate."""

import json
from collections.abc import Mapping

from fastmcp.resources import ResourceContent, ResourceResult
from google.protobuf.message import Message
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from opentelemetry import trace

from virtlease.client import CallFailed
from virtlease_chassis.telemetry import trace_id_of
from virtlease_gateway.backend import Backend
from virtlease_gateway.contracts import RpcResource
from virtlease_gateway.failures import ToolFailure, bad_arguments, call_failure
from virtlease_gateway.tools.rpc_call import user_may
from virtlease_gateway.tools.wall import Wall
from virtlease_gateway.translate import ArgumentDecoder, BadArguments, ResultEncoder
from virtlease_gateway.users import current_user

_CALLERS_FAULT = frozenset({"NOT_FOUND", "INVALID_ARGUMENT"})


class Reading:
    """Reads the resources of one template."""

    def __init__(self, resource: RpcResource, backend: Backend, wall: Wall) -> None:
        self.resource = resource
        self._backend = backend
        self._wall = wall
        self._decoder = ArgumentDecoder(resource.method.input_type)
        self._encoder = ResultEncoder(resource.method.output_type)

    async def read(self, uri: str, values: Mapping[str, str]) -> ResourceResult:
        """The content for the values of the template's variables. Raises MCPError."""
        try:
            return ResourceResult([await self._content(values)])
        except BadArguments as error:
            failure = bad_arguments(error)
        except ToolFailure as error:
            failure = error
        except CallFailed as error:
            failure = call_failure(error)
        trace_id = trace_id_of(trace.get_current_span())
        code = INVALID_PARAMS if failure.code in _CALLERS_FAULT else INTERNAL_ERROR
        raise MCPError(code, failure.to_text("", trace_id), {"uri": uri, "error": failure.structured("", trace_id)})

    async def _content(self, values: Mapping[str, str]) -> ResourceContent:
        user = current_user()
        user_may(user, self.resource.scope)
        request = self._decoder.decode(self.resource.arguments_for(values))
        self._wall.check(request)
        response = await self._backend.answer(request, user)
        self._wall.sift(response)
        return self._encode(response)

    def _encode(self, response: Message) -> ResourceContent:
        if image := self._encoder.image(response):
            return ResourceContent(image.data, mime_type=image.mime_type)
        if self.resource.content:
            return ResourceContent(getattr(response, self.resource.content), mime_type=self.resource.mime_type)
        text = json.dumps(self._encoder.encode(response), ensure_ascii=False)
        return ResourceContent(text, mime_type=self.resource.mime_type)
