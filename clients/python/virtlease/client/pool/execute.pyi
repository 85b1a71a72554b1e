# Written by `make docs` from the protos.
# fmt: off
# ruff: noqa
from collections.abc import Iterable
from typing import Any, Literal, overload

from google.protobuf.duration_pb2 import Duration

from virtlease.client.pool.connection import BaseConnection, Progress
from virtlease.pool.v1 import vm_inspection_pb2, vm_lifecycle_pb2, vm_snapshot_pb2

class Execute(BaseConnection):
    @overload
    def execute_command(
        self, which: Literal["list_vms"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        hypervisor: str = ...,
        states: Iterable[str | int] = ...,
        name_contains: str = ...,
        page_size: int = ...,
        page_token: str = ...,
        lease_id: str = ...,
    ) -> vm_inspection_pb2.ListVmsResponse: ...
    @overload
    def execute_command(
        self, which: Literal["get_vm", "vm_info"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        details: bool = ...,
    ) -> vm_inspection_pb2.GetVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["get_vm_xml"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        inactive: bool = ...,
    ) -> vm_inspection_pb2.GetVmXmlResponse: ...
    @overload
    def execute_command(
        self, which: Literal["get_vm_stats", "vm_stats"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
    ) -> vm_inspection_pb2.GetVmStatsResponse: ...
    @overload
    def execute_command(
        self, which: Literal["get_vm_screenshot", "vm_screenshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        screen: int = ...,
    ) -> vm_inspection_pb2.GetVmScreenshotResponse: ...
    @overload
    def execute_command(
        self, which: Literal["get_system_info"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        hypervisor: str = ...,
        vm_id: str = ...,
        lease_id: str = ...,
    ) -> vm_inspection_pb2.GetSystemInfoResponse: ...
    @overload
    def execute_command(
        self, which: Literal["start_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        paused: bool = ...,
    ) -> vm_lifecycle_pb2.StartVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["shutdown_vm", "stop_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ShutdownVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["reboot_vm", "restart_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.RebootVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["suspend_vm", "pause_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.SuspendVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["resume_vm", "unpause_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ResumeVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["force_off_vm", "destroy_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ForceOffVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["reset_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ResetVmResponse: ...
    @overload
    def execute_command(
        self, which: Literal["plan_vm_change"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        command: str = ...,
        snapshot: str = ...,
        with_children: bool = ...,
    ) -> vm_lifecycle_pb2.PlanVmChangeResponse: ...
    @overload
    def execute_command(
        self, which: Literal["list_snapshots"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
    ) -> vm_snapshot_pb2.ListSnapshotsResponse: ...
    @overload
    def execute_command(
        self, which: Literal["create_snapshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        name: str = ...,
        description: str = ...,
        disk_only: bool = ...,
    ) -> vm_snapshot_pb2.CreateSnapshotResult: ...
    @overload
    def execute_command(
        self, which: Literal["revert_snapshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        snapshot: str = ...,
        running: bool = ...,
    ) -> vm_snapshot_pb2.RevertSnapshotResult: ...
    @overload
    def execute_command(
        self, which: Literal["delete_snapshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        snapshot: str = ...,
        with_children: bool = ...,
    ) -> vm_snapshot_pb2.DeleteSnapshotResult: ...
    @overload
    def execute_command(self, which: str, /, **arguments: Any) -> Any: ...

class AsyncExecute(BaseConnection):
    @overload
    async def execute_command(
        self, which: Literal["list_vms"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        hypervisor: str = ...,
        states: Iterable[str | int] = ...,
        name_contains: str = ...,
        page_size: int = ...,
        page_token: str = ...,
        lease_id: str = ...,
    ) -> vm_inspection_pb2.ListVmsResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["get_vm", "vm_info"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        details: bool = ...,
    ) -> vm_inspection_pb2.GetVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["get_vm_xml"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        inactive: bool = ...,
    ) -> vm_inspection_pb2.GetVmXmlResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["get_vm_stats", "vm_stats"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
    ) -> vm_inspection_pb2.GetVmStatsResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["get_vm_screenshot", "vm_screenshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        screen: int = ...,
    ) -> vm_inspection_pb2.GetVmScreenshotResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["get_system_info"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        hypervisor: str = ...,
        vm_id: str = ...,
        lease_id: str = ...,
    ) -> vm_inspection_pb2.GetSystemInfoResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["start_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        paused: bool = ...,
    ) -> vm_lifecycle_pb2.StartVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["shutdown_vm", "stop_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ShutdownVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["reboot_vm", "restart_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.RebootVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["suspend_vm", "pause_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.SuspendVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["resume_vm", "unpause_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ResumeVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["force_off_vm", "destroy_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ForceOffVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["reset_vm"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
    ) -> vm_lifecycle_pb2.ResetVmResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["plan_vm_change"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        command: str = ...,
        snapshot: str = ...,
        with_children: bool = ...,
    ) -> vm_lifecycle_pb2.PlanVmChangeResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["list_snapshots"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
    ) -> vm_snapshot_pb2.ListSnapshotsResponse: ...
    @overload
    async def execute_command(
        self, which: Literal["create_snapshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        name: str = ...,
        description: str = ...,
        disk_only: bool = ...,
    ) -> vm_snapshot_pb2.CreateSnapshotResult: ...
    @overload
    async def execute_command(
        self, which: Literal["revert_snapshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        snapshot: str = ...,
        running: bool = ...,
    ) -> vm_snapshot_pb2.RevertSnapshotResult: ...
    @overload
    async def execute_command(
        self, which: Literal["delete_snapshot"], /, *,
        timeout: float | None = None, progress: Progress | None = None,
        vm_id: str = ...,
        lease_id: str = ...,
        if_state: str | int = ...,
        request_id: str = ...,
        snapshot: str = ...,
        with_children: bool = ...,
    ) -> vm_snapshot_pb2.DeleteSnapshotResult: ...
    @overload
    async def execute_command(self, which: str, /, **arguments: Any) -> Any: ...
