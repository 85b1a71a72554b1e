"""FastMCP as it comes: a tool that does nothing, and one that keeps state in Redis and opens libvirt at each call.

Arguments: the address, and then the port of Redis and the libvirt URI for the second one.
"""

import sys
from typing import Any

import libvirt
from fastmcp import Context, FastMCP


def main(address: str, redis_port: str = "", uri: str = "") -> None:
    """Serves over streamable HTTP with FastMCP's defaults."""
    state: dict[str, Any] = {}
    if redis_port:
        from key_value.aio.stores.redis import RedisStore

        state["session_state_store"] = RedisStore(url=f"redis://127.0.0.1:{redis_port}")
    server = FastMCP("plain", **state)

    @server.tool
    def nothing(vm_id: str, session_id: str) -> dict[str, str]:
        """Does nothing."""
        return {"vm_id": vm_id}

    @server.tool
    async def read_vm(vm_id: str, session_id: str, ctx: Context) -> dict[str, Any]:
        """Reads a VM, and keeps the call in the state."""
        calls = await ctx.get_state("history") or []
        connection = libvirt.open(uri)
        try:
            domain = connection.lookupByName(vm_id.rpartition("/")[2])
            state, maximum, memory, cpus, _ = domain.info()
        finally:
            connection.close()
        await ctx.set_state("history", [*calls, {"command": "read_vm", "vm_id": vm_id}][-100:])
        return {"vm_id": vm_id, "state": state, "max_memory": maximum, "memory": memory, "vcpus": cpus}

    host, _, port = address.rpartition(":")
    print("ready", flush=True)  # uvicorn binds a moment later; whoever measures tries until it answers
    server.run(transport="http", host=host, port=int(port), show_banner=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
