"""The composition root: opens everything in order, and closes it in reverse."""

import contextlib
import logging
from collections.abc import AsyncIterator

from virtlease.session.v1 import session_service_pb2
from virtlease.tool.v1 import tool_pb2
from virtlease_chassis.clock import SystemClock
from virtlease_chassis.identity import Authenticator
from virtlease_chassis.process import Process
from virtlease_chassis.rpc import GrpcServer, Health, Listen, Service
from virtlease_chassis.settings import SettingsError
from virtlease_session.convert import Requests
from virtlease_session.observe import ObservedStore
from virtlease_session.servicer import SessionServicer
from virtlease_session.settings import SessionSettings
from virtlease_session.store.open import open_store

SERVICE = session_service_pb2.DESCRIPTOR.services_by_name["SessionService"]
log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def session_service(
    process: Process, authenticator: Authenticator, extra: tuple[Listen, ...] = (), *, on_network: bool = True
) -> AsyncIterator[GrpcServer]:
    """A running session service; it is drained when the context is left.

    It listens on its own address if `on_network`, and on `extra` ones.
    """
    settings = process.settings[SessionSettings]
    if settings.workers > 1:
        setting = settings.env_name("workers")
        raise SettingsError([f"{setting}: only `virtlease session` can be several processes; here it is part of one"])
    listens = list(extra)
    if on_network:
        process.common.check_exposed(settings.address, settings.env_name("address"))
        listens.insert(0, Listen(settings.address, settings.env_name("address")))
    tracer = process.telemetry.tracer("session")
    health = Health()
    async with (
        open_store(settings, SystemClock(), health.tell) as opened,
        contextlib.AsyncExitStack() as stack,
    ):
        store = ObservedStore(opened, settings.store, tracer, process.telemetry.meter)
        requests = Requests(settings.limits, round(settings.idle_ttl * 1000))
        servicer = SessionServicer(store, requests, tracer, process.common.max_connection_age)
        server = GrpcServer(
            [Service(SERVICE, servicer, scopes(), health)],
            settings=process.common,
            authenticator=authenticator,
            tracer=tracer,
            meter=process.telemetry.meter,
            share_port=settings.share_port,
        )
        await server.start(listens)
        stack.push_async_callback(server.drain, process.common.drain_timeout)
        log.info("session service on %s", ", ".join(map(str, server.addresses)))
        yield server


async def serve(process: Process) -> None:
    """Runs the session service alone until it is told to stop."""
    async with session_service(process, Authenticator(process.common.identity_file)):
        await process.until_told_to_stop()


def scopes() -> dict[str, str]:
    """The scope of each method: the one its tool option names. A pipeline checks each operation by itself."""
    others = {"WatchSessions": "session:read", "Pipeline": ""}
    return {
        method.name: method.GetOptions().Extensions[tool_pb2.tool].scope or others[method.name]
        for method in SERVICE.methods
    }
