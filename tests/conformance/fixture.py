"""The server that the conformance suite asks for: its tools, resources and prompts have no use but to be tested.

It is mounted behind the same layers, telemetry and subscriptions as the real gateway, on the address in argv[1].
"""

import asyncio
import base64
import json
import signal
import sys
from collections.abc import Mapping
from typing import Any

import mcp_types as types
import uvloop
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.resources import ResourceContent, ResourceResult
from fastmcp.tools import Tool, ToolResult
from mcp.server.request_state import RequestStateSecurity
from mcp.shared.exceptions import MCPError

from virtlease_chassis.address import Address
from virtlease_chassis.settings import ProcessSettings, load
from virtlease_chassis.telemetry import ProcessTelemetry
from virtlease_gateway.http import serve_http
from virtlease_gateway.operations import Operations
from virtlease_gateway.readiness import Readiness
from virtlease_gateway.server import install
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.subscriptions import Hub

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
WAV = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\0\0\0\0"

server = FastMCP(
    "fixture",
    request_state_security=RequestStateSecurity(keys=[b"k" * 32]),
    cache_ttl=60,
    cache_scope="private",
)


def text(words: str) -> types.TextContent:
    return types.TextContent(type="text", text=words)


def image() -> types.ImageContent:
    return types.ImageContent(type="image", data=base64.b64encode(PNG).decode(), mime_type="image/png")


def embedded(uri: str, mime_type: str, words: str) -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return types.EmbeddedResource(type="resource", resource=resource)


@server.tool
def test_simple_text() -> ToolResult:
    """Returns text."""
    return ToolResult(content=[text("This is a simple text response for testing.")])


@server.tool
def test_image_content() -> ToolResult:
    """Returns an image."""
    return ToolResult(content=[image()])


@server.tool
def test_audio_content() -> ToolResult:
    """Returns audio."""
    audio = types.AudioContent(type="audio", data=base64.b64encode(WAV).decode(), mime_type="audio/wav")
    return ToolResult(content=[audio])


@server.tool
def test_embedded_resource() -> ToolResult:
    """Returns a resource."""
    return ToolResult(
        content=[embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]
    )


@server.tool
def test_multiple_content_types() -> ToolResult:
    """Returns content of three kinds."""
    mixed = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return ToolResult(content=[text("Multiple content types test:"), image(), mixed])


@server.tool
def test_error_handling() -> ToolResult:
    """Fails."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool
async def test_tool_with_logging(ctx: Context) -> str:
    """Logs three times."""
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(message)
        await asyncio.sleep(0.05)
    return "logged"


@server.tool
async def test_tool_with_progress(ctx: Context) -> str:
    """Reports progress three times."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return "done"


@server.tool
async def test_sampling(prompt: str, ctx: Context) -> str:
    """Has the client's model answer."""
    asked = types.SamplingMessage(role="user", content=text(prompt))
    answer = await ctx.session.create_message([asked], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {getattr(answer.content, 'text', '')}"


async def elicit(ctx: Context, message: str, properties: dict[str, Any], *required: str) -> types.ElicitResult:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return await ctx.session.elicit(message, schema, related_request_id=ctx.request_id)


@server.tool
async def test_elicitation(message: str, ctx: Context) -> str:
    """Asks the user."""
    properties = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    answer = await elicit(ctx, message, properties, "username", "email")
    return f"User response: action={answer.action}, content={json.dumps(answer.content)}"


@server.tool
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Asks the user with defaults."""
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    answer = await elicit(ctx, "Defaults", properties)
    return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"


@server.tool
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Asks the user to choose."""
    options = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in ((1, "First"), (2, "Second"))]
    names = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", **names},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    answer = await elicit(ctx, "Choose", properties)
    return f"Elicitation completed: action={answer.action}, content={json.dumps(answer.content)}"


class SchemaTool(Tool):
    """A tool with a schema that no signature gives."""

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        return ToolResult(content=[text(json.dumps(arguments))])


server.add_tool(
    SchemaTool(
        name="json_schema_2020_12_tool",
        description="Tool with JSON Schema 2020-12 features",
        parameters={
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {
                "address": {
                    "$anchor": "addressDef",
                    "type": "object",
                    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
                }
            },
            "properties": {
                "name": {"type": "string"},
                "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"},
                "email": {"type": "string"},
            },
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": False,
        },
    )
)


def header_tool(name: str, **properties: str) -> SchemaTool:
    described = {key: {"type": kind, "x-mcp-header": key.title().replace("_", "-")} for key, kind in properties.items()}
    return SchemaTool(
        name=name,
        description="Takes arguments that are headers too.",
        parameters={"type": "object", "properties": described},
    )


server.add_tool(header_tool("test_custom_headers", region="string", priority="number", verbose="boolean"))
server.add_tool(header_tool("test_custom_headers_null", region="string", empty_val="string", null_val="string"))


@server.tool
async def test_missing_capability(ctx: Context) -> str:
    """Needs a client that samples."""
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "this tool needs sampling",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return "sampled"


# Several rounds


def form(message: str, **properties: str) -> types.ElicitRequest:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(method="elicitation/create", params=params)


def sampling(words: str, tokens: int) -> types.CreateMessageRequest:
    params = types.CreateMessageRequestParams(
        messages=[types.SamplingMessage(role="user", content=text(words))], max_tokens=tokens
    )
    return types.CreateMessageRequest(method="sampling/createMessage", params=params)


def roots() -> types.ListRootsRequest:
    return types.ListRootsRequest(method="roots/list", params=types.RequestParams())


def ask(requests: Mapping[str, Any], state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests=dict(requests), request_state=state)


def answers(ctx: Context, **kinds: type) -> dict[str, Any] | None:
    """The answers, when all of them are there and of their kinds."""
    given = ctx.input_responses or {}
    found = {key: given[key] for key, kind in kinds.items() if isinstance(given.get(key), kind)}
    return found if len(found) == len(kinds) else None


@server.tool
async def test_input_required_result_elicitation(ctx: Context) -> str | types.InputRequiredResult:
    """Asks for a name."""
    found = answers(ctx, user_name=types.ElicitResult)
    name = (found["user_name"].content or {}).get("name") if found else None
    if not isinstance(name, str):
        return ask({"user_name": form("What is your name?", name="string")})
    return f"Hello, {name}!"


@server.tool
async def test_input_required_result_sampling(ctx: Context) -> str | types.InputRequiredResult:
    """Asks the client's model."""
    found = answers(ctx, capital_question=types.CreateMessageResult)
    if not found:
        return ask({"capital_question": sampling("What is the capital of France?", 100)})
    return str(getattr(found["capital_question"].content, "text", ""))


@server.tool
async def test_input_required_result_list_roots(ctx: Context) -> str | types.InputRequiredResult:
    """Asks for the client's roots."""
    found = answers(ctx, client_roots=types.ListRootsResult)
    if not found:
        return ask({"client_roots": roots()})
    return ", ".join(str(root.uri) for root in found["client_roots"].roots)


@server.tool
async def test_input_required_result_request_state(ctx: Context) -> str | types.InputRequiredResult:
    """Asks, and knows what it asked."""
    if ctx.request_state != "asked" or not answers(ctx, confirm=types.ElicitResult):
        return ask({"confirm": form("Please confirm", ok="boolean")}, "asked")
    return "state-ok"


@server.tool
async def test_input_required_result_tampered_state(ctx: Context) -> str | types.InputRequiredResult:
    """The same, for a client that changes the state."""
    if ctx.request_state != "asked" or not answers(ctx, confirm=types.ElicitResult):
        return ask({"confirm": form("Please confirm", ok="boolean")}, "asked")
    return "state-ok"


@server.tool
async def test_input_required_result_multiple_inputs(ctx: Context) -> str | types.InputRequiredResult:
    """Asks three things at once."""
    found = answers(
        ctx, user_name=types.ElicitResult, greeting=types.CreateMessageResult, client_roots=types.ListRootsResult
    )
    if not found:
        requests = {
            "user_name": form("What is your name?", name="string"),
            "greeting": sampling("Generate a greeting", 50),
            "client_roots": roots(),
        }
        return ask(requests, "asked")
    return f"{getattr(found['greeting'].content, 'text', '')}, {(found['user_name'].content or {}).get('name')}"


@server.tool
async def test_input_required_result_multi_round(ctx: Context) -> str | types.InputRequiredResult:
    """Asks twice."""
    if ctx.request_state == "two" and (found := answers(ctx, step2=types.ElicitResult)):
        return f"done: {(found['step2'].content or {}).get('color')}"
    if ctx.request_state == "one" and answers(ctx, step1=types.ElicitResult):
        return ask({"step2": form("Step 2: What is your favorite color?", color="string")}, "two")
    return ask({"step1": form("Step 1: What is your name?", name="string")}, "one")


@server.tool
async def test_input_required_result_capabilities(ctx: Context) -> str | types.InputRequiredResult:
    """Asks only what the client can answer."""
    capabilities = ctx.session.client_capabilities
    requests: dict[str, Any] = {}
    if capabilities and capabilities.elicitation is not None:
        requests["user_name"] = form("What is your name?", name="string")
    if capabilities and capabilities.sampling is not None:
        requests["greeting"] = sampling("Generate a greeting", 50)
    if ctx.input_responses or not requests:
        return "done"
    return ask(requests)


# Resources


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """Text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """A picture."""
    return PNG


@server.resource("test://watched-resource", mime_type="text/plain")
def watched_resource() -> str:
    """What can be subscribed to."""
    return "watched"


@server.resource("test://template/{id}/data", mime_type="application/json")
def template_data(id: str) -> ResourceResult:
    """What the template says."""
    data = {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}
    return ResourceResult([ResourceContent(json.dumps(data), mime_type="application/json")])


# Prompts


@server.prompt
def test_simple_prompt() -> str:
    """Says one thing."""
    return "This is a simple prompt for testing."


@server.prompt
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Says what it is given."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803
    """Holds a resource."""
    return [
        Message(embedded(resourceUri, "text/plain", "Embedded resource content for testing.")),
        Message("Please process the embedded resource above."),
    ]


@server.prompt
def test_prompt_with_image() -> list[Message]:
    """Holds a picture."""
    return [Message(image()), Message("Please analyze the image above.")]


@server.prompt
async def test_input_required_result_prompt(ctx: Context) -> Any:
    """Asks first."""
    found = answers(ctx, user_context=types.ElicitResult)
    if not found:
        return ask({"user_context": form("What context should the prompt use?", context="string")})
    return f"Use this context: {(found['user_context'].content or {}).get('context')}"


@server.completion
def complete(reference: Any, argument: types.CompletionArgument, context: types.CompletionContext | None) -> list[str]:
    return [word for word in ("paris", "park", "party") if word.startswith(argument.value)]


async def serve(address: Address) -> None:
    """Serves as the gateway does, until it is told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    process = load(ProcessSettings)[ProcessSettings]
    settings = GatewaySettings(address=address)
    with ProcessTelemetry("fixture", process, serve_metrics=False) as telemetry:
        install(server, Operations(telemetry.tracer("gateway"), telemetry.meter, frozenset()), Hub([]))
        async with serve_http(server, Readiness([]), settings, drain_timeout=5):
            print("fixture on", address, flush=True)
            await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve(Address.parse(sys.argv[1])))
