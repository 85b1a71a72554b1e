"""The greenhouse service: compiled from its proto when it is asked for, and served for real."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SERVICE = "greenhouse.v1.GreenhouseService"


def compile_descriptors(folder: Path) -> Path:
    """The descriptor set of the greenhouse, with its imports and its comments."""
    path = folder / "greenhouse.binpb"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE / 'protos'}", f"-I{ROOT / 'protos'}", "--include_imports",
         "--include_source_info", f"--descriptor_set_out={path}", "greenhouse.proto"],
        check=True,
    )  # fmt: skip
    return path


class Greenhouse:
    """Beds and their water."""

    def __init__(self, descriptors: Path) -> None:
        pool = DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file:
            pool.Add(file)
        self._service = pool.FindServiceByName(SERVICE)
        self._bed = GetMessageClass(pool.FindMessageTypeByName("greenhouse.v1.Bed"))
        self._event = GetMessageClass(pool.FindMessageTypeByName("greenhouse.v1.WaterBedEvent"))
        self.drops = 0
        self._news = GetMessageClass(pool.FindMessageTypeByName("greenhouse.v1.WatchBedsResponse"))
        self.dug = []
        self.tokens = []
        self.metadata = {}
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.slow = asyncio.Event()

    async def get_bed(self, request, context):
        self.metadata = dict(context.invocation_metadata())
        if request.bed == 99:  # takes until it is told to go on
            self.begun.set()
            try:
                await self.slow.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.bed == 13:
            await context.abort(grpc.StatusCode.INTERNAL, "SELECT * FROM beds at 10.1.2.3:5432 failed")
        return self._bed(bed=request.bed, plant=1, drops=self.drops, notes={"ph": "6.5"}, key="s3cret")

    async def dig_over_bed(self, request, context):
        self.dug.append(request.bed)
        return self._bed(bed=request.bed)

    async def watch_beds(self, request, context):
        """Three streams: one breaks after an event, one says that its token is too old, one lasts."""
        self.tokens.append(request.resume_token)
        if len(self.tokens) == 1:
            yield self._news(events=[{"bed": 1}], resume_token="one")
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        if len(self.tokens) == 2:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "too old")
        yield self._news(resume_token="two")
        await asyncio.Event().wait()

    async def water_bed(self, request, context):
        for part in (1, 2):
            yield self._event(progress={"fraction": part / 2, "message": f"can {part}"})
        self.drops = 2**60 + request.time.seconds
        yield self._event(result={"bed": {"bed": request.bed, "drops": self.drops}, "request_id": request.request_id})

    def handler(self) -> grpc.GenericRpcHandler:
        def serve(name, make, function):
            method = self._service.methods_by_name[name]
            return make(
                function,
                request_deserializer=GetMessageClass(method.input_type).FromString,
                response_serializer=GetMessageClass(method.output_type).SerializeToString,
            )

        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetBed": serve("GetBed", grpc.unary_unary_rpc_method_handler, self.get_bed),
                "DigOverBed": serve("DigOverBed", grpc.unary_unary_rpc_method_handler, self.dig_over_bed),
                "WatchBeds": serve("WatchBeds", grpc.unary_stream_rpc_method_handler, self.watch_beds),
                "WaterBed": serve("WaterBed", grpc.unary_stream_rpc_method_handler, self.water_bed),
            },
        )


@contextlib.asynccontextmanager
async def serve_greenhouse(descriptors: Path) -> AsyncIterator[tuple[str, Greenhouse]]:
    """The service on a free loopback port; yields its address and itself."""
    greenhouse = Greenhouse(descriptors)
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    server.add_generic_rpc_handlers((greenhouse.handler(),))
    await server.start()
    try:
        yield f"127.0.0.1:{port}", greenhouse
    finally:
        await server.stop(0)


def services_file(folder: Path, address: str, descriptors: Path) -> Path:
    """The file by which a gateway is told of the greenhouse."""
    path = folder / "services.yaml"
    path.write_text(f"services:\n  - name: {SERVICE}\n    target: {address}\n    descriptors: {descriptors}\n")
    return path
