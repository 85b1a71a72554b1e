"""Arguments and results against their schemas, for every tool there is."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.messages import JSON_VALUES, messages

from virtlease_gateway.contracts import Contract, RpcTool
from virtlease_gateway.services_file import POOL_SERVICES, SESSION_SERVICE
from virtlease_gateway.tools.roles import Roles
from virtlease_gateway.translate import ArgumentDecoder, BadArguments, ResultEncoder, input_schema, output_schema

CONTRACT = Contract.own()
TOOLS = {
    tool.name: tool for name in (SESSION_SERVICE, *POOL_SERVICES) for tool in CONTRACT.tools(CONTRACT.service(name))
}


def junk(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of which some fit a schema and some do not."""
    odd = st.sampled_from([True, 0, -1, 5, 2**60, 1.5, "", "x", "5s", "1.5s", "-1s", [], {}, ["x"], {"x": 1}])
    fitting: list[st.SearchStrategy[Any]] = [odd]
    if "enum" in schema:
        fitting.append(st.sampled_from(schema["enum"]))
    if schema.get("type") == "array":
        fitting.append(st.lists(junk(schema["items"]), max_size=2))
    if schema.get("type") == "object":
        fitting.append(arguments(schema))
    if not schema.get("type") and "anyOf" not in schema:
        fitting.append(JSON_VALUES)
    return st.one_of(fitting).filter(lambda value: value is not None)


def arguments(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    properties = schema.get("properties", {})
    known = {name: junk(inner) for name, inner in properties.items()}
    extra = schema.get("additionalProperties")
    others = st.dictionaries(st.text(max_size=3), junk(extra), max_size=2) if isinstance(extra, dict) else st.just({})
    unknown = st.just({}) | st.just({"unheard_of": 1})
    return st.tuples(st.fixed_dictionaries({}, optional=known), others, unknown).map(
        lambda parts: {**parts[1], **parts[0], **(parts[2] if not isinstance(extra, dict) else {})}
    )


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
def test_what_the_decoder_takes_the_schema_allows(tool: RpcTool) -> None:
    schema = input_schema(tool.method.input_type, CONTRACT.comments)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    decoder = ArgumentDecoder(tool.method.input_type)
    outcomes = set()

    @settings(max_examples=150, deadline=None)
    @given(arguments(schema))
    def check(given_arguments: dict[str, Any]) -> None:
        try:
            decoder.decode(given_arguments)
        except BadArguments:
            outcomes.add("refused")
        else:
            outcomes.add("taken")
            assert validator.is_valid(given_arguments), given_arguments

    check()
    assert "refused" in outcomes


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS.keys())
def test_every_result_fits_its_schema(tool: RpcTool) -> None:
    message = Roles.of(tool.method).result_type
    schema = output_schema(message, CONTRACT.comments)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    encoder = ResultEncoder(message)

    @settings(max_examples=60, deadline=None)
    @given(messages(message))
    def check(response: Any) -> None:
        result = encoder.encode(response)
        json.dumps(result, allow_nan=False)
        validator.validate(result)

    check()


def test_json_text_and_large_integers_come_through_exactly() -> None:
    tool = TOOLS["create_session"]
    values = {"big": 2**70, "text": "ä", "nested": {"a": [1, None, True, 1.5]}}
    request = ArgumentDecoder(tool.method.input_type).decode({"values": values, "idle_ttl": "90.5s"})
    assert request.values["big"] == str(2**70)
    assert (request.idle_ttl.seconds, request.idle_ttl.nanos) == (90, 500_000_000)
    session = CONTRACT.service(SESSION_SERVICE).methods_by_name["GetSession"].output_type
    encoder = ResultEncoder(session)
    from google.protobuf.message_factory import GetMessageClass

    response = GetMessageClass(session)(session={"session_id": "s", "values": dict(request.values)})
    assert encoder.encode(response) == {"session": {
        "session_id": "s", "etag": "", "values": values, "labels": {},
    }}  # fmt: skip


def test_lone_surrogates_and_nan_are_refused() -> None:
    decoder = ArgumentDecoder(TOOLS["create_session"].method.input_type)
    for values in ({"a": "\ud800"}, {"a": float("nan")}, {"a": float("inf")}, {"\ud800": 1}):
        with pytest.raises(BadArguments):
            decoder.decode({"values": values})


def test_all_faults_are_told_at_once() -> None:
    decoder = ArgumentDecoder(TOOLS["update_session"].method.input_type)
    with pytest.raises(BadArguments) as caught:
        decoder.decode({"mutations": [{"key": 5, "set": 1}, {"key": "a", "set": 1, "delete": True}, {}], "tag": ""})
    assert [path for path, _ in caught.value.faults] == [
        "mutations[0].key", "mutations[1].delete", "mutations[2].key", "mutations[2]", "tag", "session_id",
    ]  # fmt: skip


def test_descriptions_come_from_the_comments() -> None:
    for tool in TOOLS.values():
        assert tool.description, tool.name
        schema = input_schema(tool.method.input_type, CONTRACT.comments)
        assert all(field.get("description") for field in schema["properties"].values()), tool.name
        assert "oneOf" not in schema  # not at the top: some clients refuse it
