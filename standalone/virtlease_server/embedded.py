"""The two services in this process, reached over Unix sockets that only this user can open."""

import contextlib
import secrets
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from virtlease_chassis.address import Address
from virtlease_chassis.identity import Authenticator, Principal
from virtlease_chassis.identity.principal import ACT_AS, EVERYTHING
from virtlease_chassis.process import Process
from virtlease_chassis.rpc import GrpcServer, Listen
from virtlease_gateway.app import Targets
from virtlease_pool.app import pool_service
from virtlease_session.app import session_service

_GATEWAY = Principal("virtlease", "gateway", frozenset({EVERYTHING, ACT_AS}))


@dataclass(frozen=True, slots=True)
class Embedded:
    """The services that run, how callers are known to them, and how the gateway reaches them."""

    session: GrpcServer
    pool: GrpcServer
    authenticator: Authenticator
    targets: Targets


@contextlib.asynccontextmanager
async def embedded_services(process: Process, *, on_network: bool) -> AsyncIterator[Embedded]:
    """Runs both services; on their network addresses too if `on_network`.

    Where callers are asked who they are, the gateway has a token of its own that lives as long as this process.
    """
    identity_file = process.common.identity_file
    token = secrets.token_urlsafe(32) if identity_file else None
    extra: Mapping[str, Principal] = {token: _GATEWAY} if token else {}
    authenticator = Authenticator(identity_file, extra)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="virtlease-")))
        sockets = {name: Address(path=str(folder / f"{name}.sock")) for name in ("session", "pool")}
        listens = {name: (Listen(address, "TMPDIR"),) for name, address in sockets.items()}
        session = await stack.enter_async_context(
            session_service(process, authenticator, listens["session"], on_network=on_network)
        )
        pool = await stack.enter_async_context(
            pool_service(process, authenticator, listens["pool"], on_network=on_network)
        )
        yield Embedded(session, pool, authenticator, Targets(str(sockets["session"]), str(sockets["pool"]), token))
