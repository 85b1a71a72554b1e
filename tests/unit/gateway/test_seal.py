"""Confirmation tokens: nobody else makes them, and nobody changes them."""

import base64
import json

import pytest

from virtlease.pool.v1 import vm_lifecycle_pb2, vm_pb2
from virtlease_gateway.confirm.plan import Plan, Planner
from virtlease_gateway.confirm.seal import BadToken, Claims, Seal, digest_of
from virtlease_gateway.contracts import Contract
from virtlease_gateway.failures import ToolFailure

CLAIMS = Claims("force_off_vm", "acme/ann", digest_of({"vm_id": "a/b"}), "d", "u", "n", 5)


def test_a_token_says_what_was_signed() -> None:
    seal = Seal(b"k" * 32)
    assert seal.open(seal.sign(CLAIMS)) == CLAIMS
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_g2_no_other_token_is_taken() -> None:
    seal = Seal(b"k" * 32)
    body, signature = seal.sign(CLAIMS).split(".")
    claims = json.loads(base64.urlsafe_b64decode(f"{body}=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "expires": 2**40}).encode()).decode().rstrip("=")
    for token in (
        f"{forged}.{signature}", f"{body}.", f".{signature}", body, "", "..", "ä.ö", f"{body}.{signature}.x",
        Seal(b"x" * 32).sign(CLAIMS),
    ):  # fmt: skip
        with pytest.raises(BadToken):
            seal.open(token)


def test_g2_a_request_is_bound_to_the_vm_and_the_state_of_its_plan() -> None:
    contract = Contract.own()
    tools = contract.tools(contract.service("virtlease.pool.v1.VmService"))
    planner = Planner(next(tool for tool in tools if tool.name == "force_off_vm"), None)
    plan = Plan("off", digest="d", vm_id="lab/web", uuid="11111111-2222", state=vm_pb2.VM_STATE_RUNNING)
    request = vm_lifecycle_pb2.ForceOffVmRequest(vm_id="web")
    planner.bind(request, plan)
    assert request.vm_id == "lab/11111111-2222"
    assert request.if_state == vm_pb2.VM_STATE_RUNNING
    paused = vm_lifecycle_pb2.ForceOffVmRequest(vm_id="web", if_state=vm_pb2.VM_STATE_PAUSED)
    with pytest.raises(ToolFailure):
        planner.bind(paused, plan)
