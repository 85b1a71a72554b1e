"""The commands of VmService: a function each, named as its RPC in snake_case.

A command runs in the thread of a connection. It is given what it acts on and the request, calls libvirt, and returns
the response. Adding one is an RPC in the proto and a function here.
"""

from virtlease_pool.driver.commands import inspection, lifecycle, plans, system  # noqa: F401  # each registers its own
from virtlease_pool.driver.commands.registry import COMMANDS, Command, Host, Vm

__all__ = ["COMMANDS", "Command", "Host", "Vm"]
