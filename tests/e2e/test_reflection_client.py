"""The same VM work by plain gRPC, from a client that knows the services only by reflection."""

from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from support.processes import Addresses


class ReflectedClient:
    """Calls methods by name with JSON, having asked the server what they are."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._database = ProtoReflectionDescriptorDatabase(self._channel)
        self._pool = DescriptorPool(self._database)

    @property
    def services(self) -> list[str]:
        return list(self._database.get_services())

    def call(self, service: str, method: str, request: dict[str, Any]) -> dict[str, Any]:
        found = self._pool.FindServiceByName(service).FindMethodByName(method)
        call = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=GetMessageClass(found.input_type).SerializeToString,
            response_deserializer=GetMessageClass(found.output_type).FromString,
        )
        message = ParseDict(request, GetMessageClass(found.input_type)())
        return MessageToDict(call(message, timeout=10), preserving_proto_field_name=True)

    def health(self, service: str) -> int:
        stub = health_pb2_grpc.HealthStub(self._channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status

    def close(self) -> None:
        self._channel.close()


SESSION = "virtlease.session.v1.SessionService"
POOL = "virtlease.pool.v1.PoolService"
VM = "virtlease.pool.v1.VmService"


def test_main_job_by_reflection(up: Addresses) -> None:
    session, pool = ReflectedClient(up.session), ReflectedClient(up.pool)
    try:
        # Given nothing but addresses, I expect the services to name themselves
        assert SESSION in session.services
        assert {POOL, VM} <= set(pool.services)
        assert session.health(SESSION) == pool.health(VM) == pool.health(POOL) == 1

        # If I keep a session and do VM work on a lease
        created = session.call(SESSION, "CreateSession", {"values": {"step": "1"}})["session"]
        lease = pool.call(POOL, "AcquireLease", {"vm_id": "local/test"})["lease"]
        on_lease = {"vm_id": "local/test", "lease_id": lease["lease_id"]}
        assert pool.call(VM, "SuspendVm", on_lease)["vm"]["state"] == "VM_STATE_PAUSED"
        assert pool.call(VM, "GetVm", {"vm_id": "local/test"})["vm"]["state"] == "VM_STATE_PAUSED"
        assert pool.call(VM, "ResumeVm", on_lease)["vm"]["state"] == "VM_STATE_RUNNING"
        pool.call(POOL, "RenewLease", {"lease_id": lease["lease_id"]})
        pool.call(POOL, "ReleaseLease", {"lease_id": lease["lease_id"]})

        # I expect everything to be counted and kept
        (stats,) = pool.call(POOL, "GetPoolStats", {"hypervisor": "local"})["pools"]
        assert stats.get("leased", 0) == 0
        update = {"session_id": created["session_id"], "mutations": [{"key": "step", "increment": 1}]}
        assert session.call(SESSION, "UpdateSession", update)["incremented"] == {"step": "2"}
        session.call(SESSION, "EndSession", {"session_id": created["session_id"]})
    finally:
        session.close()
        pool.close()
