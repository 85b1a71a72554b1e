"""The tool surface: names, effects, arguments and results. Run it to write the snapshot anew."""

import json
from pathlib import Path
from typing import Any

from virtlease_gateway.contracts import Contract
from virtlease_gateway.services_file import POOL_SERVICES, SESSION_SERVICE
from virtlease_gateway.tools.roles import Roles
from virtlease_gateway.translate import input_schema, output_schema

SNAPSHOT = Path(__file__).with_name("surface.json")


def surface() -> dict[str, Any]:
    """What clients see of each tool, without the descriptions of single fields."""
    contract = Contract.own()
    return {
        tool.name: {
            "title": tool.title,
            "description": tool.description,
            "effect": tool.effect.name,
            "idempotent": tool.idempotent,
            "aliases": list(tool.aliases),
            "toolset": tool.toolset,
            "scope": tool.scope,
            "arguments": sorted(input_schema(tool.method.input_type, {})["properties"]),
            "required": sorted(input_schema(tool.method.input_type, {}).get("required", [])),
            "result": sorted(output_schema(Roles.of(tool.method).result_type, {})["properties"]),
        }
        for name in (SESSION_SERVICE, *POOL_SERVICES)
        for tool in contract.tools(contract.service(name))
    }


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(surface(), indent=2) + "\n")
