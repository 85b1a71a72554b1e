"""The gateway offers the RPCs of a service that it has never seen, from its descriptors alone."""

import asyncio
import json
from collections.abc import AsyncIterator

import jsonschema
import pytest
import pytest_asyncio
from fastmcp import Client
from mcp.client.subscriptions import listen
from mcp.shared.exceptions import MCPError
from support.greenhouse import Greenhouse, compile_descriptors, serve_greenhouse, services_file
from support.processes import Addresses, virtlease_up

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Addresses, Greenhouse]]:
    """A gateway that was told of the greenhouse, and the greenhouse."""
    folder = tmp_path_factory.mktemp("greenhouse")
    descriptors = compile_descriptors(folder)
    async with serve_greenhouse(descriptors) as (address, greenhouse):
        services = services_file(folder, address, descriptors)
        with virtlease_up(folder, VIRTLEASE_GATEWAY_SERVICES_FILE=str(services)) as (addresses, _):
            yield addresses, greenhouse


@pytest.fixture
def gateway(both: tuple[Addresses, Greenhouse]) -> Addresses:
    return both[0]


@pytest.fixture
def greenhouse(both: tuple[Addresses, Greenhouse]) -> Greenhouse:
    return both[1]


@pytest_asyncio.fixture(loop_scope="module")
async def client(gateway: Addresses) -> AsyncIterator[Client]:
    """A client of it."""
    async with Client(gateway.mcp_url) as client:
        yield client


async def test_tools_of_an_unknown_service(client: Client) -> None:
    tools = {tool.name: tool for tool in await client.list_tools()}

    # I expect its annotated RPCs as tools, and not the one without an option
    assert {"get_bed", "water_bed", "dig_over_bed"} <= set(tools)
    assert not {"count_beds", "bed_info"} & set(tools)
    assert tools["dig_over_bed"].annotations.destructive_hint
    water = tools["water_bed"]
    assert water.description == "Waters a bed, as long as it is told to."
    assert water.title == "Water a bed"
    assert water.annotations.model_dump(by_alias=True) == {
        "title": "Water a bed",
        "readOnlyHint": False,
        "destructiveHint": False,
        "idempotentHint": False,
        "openWorldHint": False,
    }
    assert water.input_schema["required"] == ["bed"]
    assert set(water.input_schema["properties"]) == {"bed", "time", "can", "hose", "session_id"}
    assert "Not together with hose" in water.input_schema["properties"]["can"]["description"]

    # If I call one by its name and by its alias, I expect the result that its schema describes
    for name in ("get_bed", "bed_info"):
        result = (await client.call_tool(name, {"bed": 3})).structured_content
        jsonschema.validate(result, tools["get_bed"].output_schema)
        assert result == {"bed": 3, "plant": "TOMATO", "drops": 0, "notes": {"ph": 6.5}}


async def test_resources_of_an_unknown_service(client: Client) -> None:
    assert "bed://{bed}" in {each.uri_template for each in await client.list_resource_templates()}
    (content,) = await client.read_resource("bed://3")
    assert json.loads(content.text) == {"bed": 3, "plant": "TOMATO", "drops": 0, "notes": {"ph": 6.5}}
    with pytest.raises(MCPError, match="bed: expected an integer"):
        await client.read_resource("bed://three")


async def test_news_of_an_unknown_service_go_on_after_breaks(gateway: Addresses, greenhouse: Greenhouse) -> None:
    # Given a watch that breaks after an event, and then says that events were missed
    heard: list[str] = []
    async with (
        Client(gateway.mcp_url) as client,
        listen(client.session, resource_subscriptions=["bed://1", "bed://2"]) as news,
        asyncio.timeout(20),
    ):
        # I expect to hear of the event, and then of everything that I asked for
        async for event in news:
            heard.append(event.uri)
            if {"bed://1", "bed://2"} <= set(heard):
                break
        while len(greenhouse.tokens) < 3:
            await asyncio.sleep(0.02)
    assert heard[0] == "bed://1"
    assert greenhouse.tokens == ["", "one", ""]


async def test_stream_of_an_unknown_service_is_a_call_with_progress(client: Client) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        seen.append((done, total, message))

    result = await client.call_tool("water_bed", {"bed": 3, "time": "20s", "hose": "green"}, progress_handler=progress)

    assert seen == [(0.5, 1, "can 1"), (1.0, 1, "can 2")]
    watered = result.structured_content
    assert watered["bed"]["drops"] == str(2**60 + 20)  # beyond 2^53: as text
    assert watered["request_id"]  # filled in by the gateway


async def test_session_goes_with_calls_to_an_unknown_service(client: Client) -> None:
    created = (await client.call_tool("create_session", {})).structured_content
    session_id = created["session"]["session_id"]
    await client.call_tool("get_bed", {"bed": 3, "session_id": session_id})
    await client.call_tool("get_bed", {"bed": 300, "session_id": session_id}, raise_on_error=False)
    session = (await client.call_tool("get_session", {"session_id": session_id})).structured_content
    history = session["session"]["values"]["_history"]
    assert [(entry["command"], entry["args"], entry["outcome"]) for entry in history] == [
        ("get_bed", {"bed": 3}, "OK"),
        ("get_bed", {"bed": 300}, "INVALID_ARGUMENTS"),
    ]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "bed: required"),
        ({"bed": "three"}, "bed: expected an integer"),
        ({"bed": 3, "tme": 2}, "tme: no such argument; did you mean time?"),
        ({"bed": 3, "time": 0.5}, "time: at least 1"),
        ({"bed": 3, "can": 1, "hose": "green"}, "hose: not together with can"),
        ({"bed": 3, "hose": "GREEN"}, "hose: has to match"),
        ({"bed": 3, "request_id": "mine"}, "request_id: no such argument"),
    ],
)
async def test_bad_arguments_are_named(client: Client, arguments: dict[str, object], field: str) -> None:
    result = await client.call_tool("water_bed", arguments, raise_on_error=False)
    assert result.is_error
    assert field in result.structured_content["error"]["message"]


async def test_g3_an_internal_error_shows_nothing_of_the_inside(client: Client) -> None:
    result = await client.call_tool("get_bed", {"bed": 13}, raise_on_error=False)
    assert result.is_error
    text = result.content[0].text
    assert "10.1.2.3" not in text
    assert "SELECT" not in text
    assert result.structured_content["error"]["trace_id"] in text
