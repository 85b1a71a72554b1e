"""The `virtlease` command."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="virtlease",
    help="Sessions with a lifetime and pooled libvirt connections, over gRPC and MCP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


DataDir = Annotated[
    Path | None,
    typer.Option(help="Keep sessions in this folder, so that they outlive the process. Default: in memory."),
]


def _exit(run: Callable[[], int]) -> None:
    raise typer.Exit(run())


def _keep_sessions(data_dir: Path | None) -> None:
    """The option is a setting under another name; settings are read from the environment."""
    if data_dir is not None:
        os.environ["VIRTLEASE_SESSION_DATA_DIR"] = str(data_dir)


@app.command()
def up(data_dir: DataDir = None) -> None:
    """Run everything in this process, on loopback: libvirt's test driver unless set otherwise."""
    from virtlease_server.up import main

    _keep_sessions(data_dir)
    _exit(main)


@app.command()
def mcp(data_dir: DataDir = None) -> None:
    """Serve MCP on standard input and output, with everything in this process."""
    from virtlease_server.stdio import main

    _keep_sessions(data_dir)
    _exit(main)


@app.command()
def session(data_dir: DataDir = None) -> None:
    """Run the session service."""
    from virtlease_session.__main__ import main

    _keep_sessions(data_dir)
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


@app.command()
def status(
    target: Annotated[str, typer.Option(help="The pool service, as host:port.")] = "127.0.0.1:50052",
    token_file: Annotated[Path | None, typer.Option(help="A file with a bearer token.")] = None,
    tls_ca: Annotated[Path | None, typer.Option(help="Speak TLS, and trust this certificate authority.")] = None,
    every: Annotated[float | None, typer.Option(help="Follow, so many seconds apart. Default: once.")] = None,
) -> None:
    """Show hypervisors, their connection pools and who holds what."""
    from virtlease_server.status import Where, show_status

    _exit(lambda: show_status(Where(target, token_file, tls_ca), every=every))


def main() -> None:
    """Runs the command line, and exits with its status."""
    app()


if __name__ == "__main__":
    main()
