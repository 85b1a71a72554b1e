"""`virtlease up`: everything in one process."""

from virtlease_chassis.process import Process, run_process
from virtlease_gateway.app import gateway
from virtlease_gateway.settings import GatewaySettings
from virtlease_pool.settings import PoolSettings
from virtlease_server.embedded import embedded_services
from virtlease_server.welcome import print_welcome
from virtlease_session.settings import SessionSettings


async def serve(process: Process) -> None:
    """Runs all three until it is told to stop; the gateway goes first, so that its calls are still answered."""
    async with (
        embedded_services(process, on_network=True) as services,
        gateway(process, services.authenticator, services.targets) as address,
    ):
        print_welcome(address, services)
        await process.until_told_to_stop()


def main() -> int:
    """Returns the exit status."""
    return run_process("up", serve, SessionSettings, PoolSettings, GatewaySettings)
