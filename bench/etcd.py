"""etcd's LeaseKeepAlive, by the few fields of its contract that are needed."""

import asyncio

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELDS = {
    "LeaseGrantRequest": {"TTL": 1, "ID": 2},
    "LeaseGrantResponse": {"ID": 2, "TTL": 3},
    "LeaseKeepAliveRequest": {"ID": 1},
    "LeaseKeepAliveResponse": {"ID": 2, "TTL": 3},
}


def _messages() -> dict[str, type]:
    file = descriptor_pb2.FileDescriptorProto(name="etcd_lease.proto", package="etcdserverpb", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, number in fields.items():
            message.field.add(name=field, number=number, type=3, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"etcdserverpb.{n}")) for n in _FIELDS}


class KeepAlives:
    """Leases that are kept alive over one stream; each caller waits for the answer to its own."""

    def __init__(self, channel: grpc.aio.Channel, leases: int) -> None:
        self._messages = _messages()
        self._channel = channel
        self._leases = leases
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def open(self) -> None:
        """Grants the leases and opens the stream."""
        grant = self._channel.unary_unary(
            "/etcdserverpb.Lease/LeaseGrant",
            request_serializer=self._messages["LeaseGrantRequest"].SerializeToString,
            response_deserializer=self._messages["LeaseGrantResponse"].FromString,
        )
        for number in range(1, self._leases + 1):
            await grant(self._messages["LeaseGrantRequest"](TTL=3600, ID=number))
        self._stream = self._channel.stream_stream(
            "/etcdserverpb.Lease/LeaseKeepAlive",
            request_serializer=self._messages["LeaseKeepAliveRequest"].SerializeToString,
            response_deserializer=self._messages["LeaseKeepAliveResponse"].FromString,
        )()
        self._queue: asyncio.Queue[int] = asyncio.Queue()
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    async def keep_alive(self, number: int) -> None:
        """Renews one lease, numbered from 0."""
        self._waiting[number + 1] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(number + 1)
        await self._waiting[number + 1]

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._stream.cancel()

    async def _write(self) -> None:
        while True:
            await self._stream.write(self._messages["LeaseKeepAliveRequest"](ID=await self._queue.get()))

    async def _read(self) -> None:
        while (response := await self._stream.read()) is not grpc.aio.EOF:
            self._waiting.pop(response.ID).set_result(None)
