"""The commands of VmService: a function each, named as its RPC in snake_case.

A command runs in the thread of a connection. It is given what it acts on and the request, calls libvirt, and returns
the response, or of a streamed RPC the result. Adding one is an RPC in the proto and a function here.
"""

from virtlease_pool.driver.commands import (  # noqa: F401  # each registers its own
    definition,
    inspection,
    lifecycle,
    plans,
    screenshot,
    snapshots,
    statistics,
    system,
)
from virtlease_pool.driver.commands.registry import COMMANDS, Command, Host, Vm

__all__ = ["COMMANDS", "Command", "Host", "Vm"]
