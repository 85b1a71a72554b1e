"""What `virtlease up` prints when it is ready: where everything is, and how to connect to it."""

import json
import sys
from pathlib import Path
from typing import Any

from virtlease_chassis.address import Address
from virtlease_gateway.http import PATH
from virtlease_server.embedded import Embedded


def print_welcome(gateway: Address, services: Embedded) -> None:
    """Prints addresses, ready client configurations and one command to try, to standard output."""
    print(welcome(gateway, services.session.addresses[0], services.pool.addresses[0]), flush=True)


def welcome(gateway: Address, session: Address, pool: Address) -> str:
    """The text."""
    url = f"http://{gateway}{PATH}"
    folder = Path(sys.executable).parent
    stdio = {
        "command": str(folder / "virtlease"),
        "args": ["mcp"],
        "env": {"VIRTLEASE_GATEWAY_SESSION_TARGET": str(session), "VIRTLEASE_GATEWAY_POOL_TARGET": str(pool)},
    }
    return f"""
virtlease is ready.

  MCP      {url}
  gRPC     {session}  virtlease.session.v1.SessionService
           {pool}  virtlease.pool.v1.PoolService, virtlease.pool.v1.VmService

Claude Desktop, claude_desktop_config.json:
{_json({"mcpServers": {"virtlease": stdio}})}

VS Code, .vscode/mcp.json:
{_json({"servers": {"virtlease": {"type": "http", "url": url}}})}

Cursor, .cursor/mcp.json:
{_json({"mcpServers": {"virtlease": {"url": url}}})}

Try it:
  {folder / "fastmcp"} call {url} list_vms

Stop it with Ctrl-C.
"""


def _json(configuration: dict[str, Any]) -> str:
    return "\n".join(f"  {line}" for line in json.dumps(configuration, indent=2).splitlines())
