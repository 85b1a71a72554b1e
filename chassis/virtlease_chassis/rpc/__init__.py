"""gRPC on both sides: the server that every service runs in, and the channel by which one is called."""

from virtlease_chassis.rpc.channel import ChannelOptions, open_channel
from virtlease_chassis.rpc.health import Health
from virtlease_chassis.rpc.server import GrpcServer, Listen
from virtlease_chassis.rpc.service import Service

__all__ = ["ChannelOptions", "GrpcServer", "Health", "Listen", "Service", "open_channel"]
