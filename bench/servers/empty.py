"""The least that a unary RPC can cost: grpc.aio on uvloop with our options, no interceptor, an empty method."""

import asyncio
import sys

import grpc
import uvloop
from google.protobuf.empty_pb2 import Empty

from virtlease_chassis.rpc.server import _options
from virtlease_chassis.settings import ProcessSettings

METHOD = "/bench.Empty/Call"


async def _call(_request: Empty, _context: object) -> Empty:
    return Empty()


async def serve(address: str) -> None:
    """Serves until the process is ended."""
    server = grpc.aio.server(options=_options(ProcessSettings()))
    handler = grpc.unary_unary_rpc_method_handler(
        _call, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
    )
    server.add_registered_method_handlers("bench.Empty", {"Call": handler})
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
