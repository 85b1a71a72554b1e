"""The services in this process: the one file of the client that loads them, and only when they are asked for.

Each listens on a Unix socket that only this user can open, and is called as a service elsewhere would be, so that a
program behaves the same when it is pointed at one.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from virtlease.client.errors import ServerMissing
from virtlease.client.target import Target


@contextlib.asynccontextmanager
async def embedded_sessions(settings: Mapping[str, Any]) -> AsyncIterator[Target]:
    """A session service of one's own, with these settings of SessionSettings (docs/settings.md); others by default."""
    with _loading():
        from virtlease_session.app import session_service
        from virtlease_session.settings import SessionSettings
    async with _embedded(session_service, SessionSettings, settings) as target:
        yield target


@contextlib.asynccontextmanager
async def embedded_pool(settings: Mapping[str, Any]) -> AsyncIterator[Target]:
    """A pool service of one's own, with these settings of PoolSettings; libvirt is in this process then."""
    with _loading():
        from virtlease_pool.app import pool_service
        from virtlease_pool.settings import PoolSettings
    async with _embedded(pool_service, PoolSettings, settings) as target:
        yield target


@contextlib.asynccontextmanager
async def _embedded(service: Any, group: Any, settings: Mapping[str, Any]) -> AsyncIterator[Target]:
    from virtlease_chassis.address import Address
    from virtlease_chassis.identity import Authenticator
    from virtlease_chassis.process import Process
    from virtlease_chassis.rpc import Listen
    from virtlease_chassis.settings import Loaded, ProcessSettings
    from virtlease_chassis.telemetry import ProcessTelemetry

    # What guards a service on a network has no use on a socket that only this user can open.
    common = ProcessSettings(**_FOR_NETWORKS)
    loaded = Loaded({ProcessSettings: common, group: group(**settings)})
    with (
        _private_folder() as folder,
        ProcessTelemetry("embedded", common, serve_metrics=False) as telemetry,
    ):
        address = Address(path=str(folder / "service.sock"))
        process = Process(loaded, telemetry, asyncio.Event())
        async with service(process, Authenticator(None), (Listen(address, "TMPDIR"),), on_network=False):
            yield Target(str(address))


_FOR_NETWORKS: Mapping[str, Any] = dict.fromkeys(("identity_file", "tls_certificate", "tls_key", "tls_client_ca"))


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    # Not a TemporaryDirectory: at the end of a program that closes nothing it would be removed, with a warning, first.
    folder = Path(tempfile.mkdtemp(prefix="virtlease-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ServerMissing(
            f"embedded use needs the services, and {error.name!r} is not installed: pip install 'virtlease[server]', "
            "or name a service that runs elsewhere with target="
        ) from error
