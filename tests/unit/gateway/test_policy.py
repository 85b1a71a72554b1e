"""Which tools and hypervisors a deployment offers."""

import pytest

from virtlease.pool.v1 import vm_inspection_pb2, vm_lifecycle_pb2, vm_pb2
from virtlease_chassis.address import Address
from virtlease_gateway.contracts import Contract
from virtlease_gateway.failures import ToolFailure
from virtlease_gateway.policy import HypervisorPolicy, ToolPolicy, is_read_only
from virtlease_gateway.services_file import POOL_SERVICES, SESSION_SERVICE
from virtlease_gateway.settings import GatewaySettings
from virtlease_gateway.tools.wall import Wall
from virtlease_gateway.translate import BadArguments

CONTRACT = Contract.own()
TOOLS = [tool for name in (SESSION_SERVICE, *POOL_SERVICES) for tool in CONTRACT.tools(CONTRACT.service(name))]


def offered(read_only: bool = False, **settings: object) -> set[str]:
    policy = ToolPolicy(GatewaySettings.model_construct(**settings), read_only=read_only)
    return {tool.name for tool in TOOLS if policy.offers(tool)}


def test_g5_strangers_beyond_loopback_get_no_tool_that_writes() -> None:
    for host, set_to, asks, expected in (
        ("127.0.0.1", None, False, False),
        ("0.0.0.0", None, False, True),
        ("0.0.0.0", None, True, False),
        ("0.0.0.0", False, False, False),
        ("127.0.0.1", True, True, True),
    ):
        settings = GatewaySettings.model_construct(address=Address(host=host, port=8000), read_only=set_to)
        assert is_read_only(settings, asks_who=asks) is expected, (host, set_to, asks)
    reading = offered(read_only=True)
    assert {"get_vm", "list_sessions"} <= reading
    assert not {"start_vm", "create_session", "acquire_lease"} & reading


def test_tools_are_allowed_and_denied_by_name_and_alias() -> None:
    listing = {"list_vms", "list_snapshots", "list_sessions", "list_hypervisors"}
    assert offered(allow_tools=("get_vm", "list_*")) == {"get_vm", *listing}
    assert "suspend_vm" not in offered(deny_tools=("pause_vm",))  # its alias
    assert "suspend_vm" not in offered(allow_tools=("suspend_vm",), deny_tools=("*_vm",))
    assert "start_vm" not in offered(allow_tools=("start_vm",), toolsets=("sessions",))


def test_requests_stop_at_the_wall() -> None:
    wall = Wall(HypervisorPolicy(allow=("lab-*",), deny=("lab-secret",)))
    wall.check(vm_lifecycle_pb2.StartVmRequest(vm_id="lab-1/web"))
    wall.check(vm_inspection_pb2.ListVmsRequest())
    for vm_id in ("prod/web", "lab-secret/web"):
        with pytest.raises(ToolFailure) as caught:
            wall.check(vm_lifecycle_pb2.StartVmRequest(vm_id=vm_id))
        assert caught.value.reason == "HYPERVISOR_NOT_OFFERED"
    with pytest.raises(ToolFailure):
        wall.check(vm_inspection_pb2.ListVmsRequest(hypervisor="prod"))
    # A bare name could be on any of them
    with pytest.raises(BadArguments, match="say which hypervisor"):
        wall.check(vm_lifecycle_pb2.StartVmRequest(vm_id="web"))


def test_answers_are_sifted_at_the_wall() -> None:
    wall = Wall(HypervisorPolicy(allow=(), deny=("prod",)))
    listed = vm_inspection_pb2.ListVmsResponse(
        vms=[vm_pb2.Vm(vm_id="lab/a", hypervisor="lab"), vm_pb2.Vm(vm_id="prod/b", hypervisor="prod")],
        unreachable=[{"hypervisor": "prod", "reason": "down"}, {"hypervisor": "lab", "reason": "down"}],
    )
    wall.sift(listed)
    assert [vm.vm_id for vm in listed.vms] == ["lab/a"]
    assert [each.hypervisor for each in listed.unreachable] == ["lab"]
    for foreign in (
        vm_inspection_pb2.GetVmResponse(vm=vm_pb2.Vm(vm_id="prod/b", hypervisor="prod")),
        vm_inspection_pb2.GetSystemInfoResponse(hypervisor="prod"),
    ):
        with pytest.raises(ToolFailure):
            wall.sift(foreign)
    everything = Wall(HypervisorPolicy((), ()))
    everything.sift(vm_inspection_pb2.GetSystemInfoResponse(hypervisor="prod"))
