"""The `virtlease` command."""

from collections.abc import Callable

import typer

app = typer.Typer(
    name="virtlease",
    help="Sessions with a lifetime and pooled libvirt connections, over gRPC and MCP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _exit(run: Callable[[], int]) -> None:
    raise typer.Exit(run())


@app.command()
def up() -> None:
    """Run everything in this process, on loopback: sessions in memory, libvirt's test driver unless set otherwise."""
    from virtlease_server.up import main

    _exit(main)


@app.command()
def mcp() -> None:
    """Serve MCP on standard input and output, with everything in this process."""
    from virtlease_server.stdio import main

    _exit(main)


@app.command()
def session() -> None:
    """Run the session service."""
    from virtlease_session.__main__ import main

    _exit(main)


@app.command()
def pool() -> None:
    """Run the connection-pool service."""
    from virtlease_pool.__main__ import main

    _exit(main)


@app.command()
def gateway() -> None:
    """Run the MCP gateway."""
    from virtlease_gateway.__main__ import main

    _exit(main)


def main() -> None:
    """Runs the command line, and exits with its status."""
    app()


if __name__ == "__main__":
    main()
