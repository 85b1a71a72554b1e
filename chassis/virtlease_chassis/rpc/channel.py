"""The channel by which a process calls a service of the house."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

# Retries only what cannot have had an effect: gRPC itself retries calls that never left the client or were not
# taken by the server. Anything more is for callers, who know whether they gave a request id.
_SERVICE_CONFIG: Mapping[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """How to reach a service. TLS is spoken when `tls_ca` is given; a certificate of one's own is shown with it."""

    target: str
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    max_message_bytes: int = 4 * 1024 * 1024


def open_channel(options: ChannelOptions) -> grpc.aio.Channel:
    """Opens a channel; it connects at the first call, and again whenever the connection is lost."""
    arguments = [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ]
    if options.tls_ca is None:
        return grpc.aio.insecure_channel(options.target, arguments)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=options.tls_ca.read_bytes(),
        private_key=options.tls_key.read_bytes() if options.tls_key else None,
        certificate_chain=options.tls_certificate.read_bytes() if options.tls_certificate else None,
    )
    return grpc.aio.secure_channel(options.target, credentials, arguments)
