"""Clients in Go, Java and Node, built as their READMEs say, against real services: one main job, one output for all."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.certificates import Authority
from support.identities import TOKENS, write_identities
from support.needs import need
from support.processes import Addresses, clean_environment, virtlease_up

ROOT = Path(__file__).parents[2]
GOLDEN = (Path(__file__).parent / "main_job.txt").read_text()
BUILD_SECONDS = 300
_COLOUR = re.compile("\x1b\\[[0-9;]*m")  # Maven's, even where there is no terminal


@dataclass(frozen=True)
class Language:
    """How the example of a language is built and run, in its folder."""

    folder: str
    tool: str
    build: tuple[str, ...]
    run: tuple[str, ...]

    def command(self, addresses: Addresses) -> list[str]:
        return [part.format(session=addresses.session, pool=addresses.pool) for part in self.run]


LANGUAGES = {
    "go": Language(
        "go", "go", ("go", "build", "-o", "bin/mainjob", "./examples/mainjob"), ("bin/mainjob", "{session}", "{pool}")
    ),
    "java": Language(
        "java",
        "mvn",
        ("mvn", "-q", "-B", "-ntp", "compile"),
        ("mvn", "-q", "-B", "-o", "exec:java", "-Dexec.args={session} {pool}"),
    ),
    "node": Language(
        "node",
        "npm",
        ("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"),
        ("node", "example/main_job.js", "{session}", "{pool}"),
    ),
}


@pytest.fixture(scope="module", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> Language:
    """A language whose example has been built."""
    found = LANGUAGES[request.param]
    need(found.tool)
    run(found.build, ROOT / "clients" / found.folder, {}, BUILD_SECONDS)
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    with virtlease_up(tmp_path_factory.mktemp("up")) as (addresses, _):
        yield addresses


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Addresses, dict[str, str]]]:
    """Services that speak TLS and ask who is calling, and the settings by which a client gets in."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder)
    pair = authority.issue("virtlease")
    settings = {
        "VIRTLEASE_IDENTITY_FILE": str(write_identities(folder)),
        "VIRTLEASE_TLS_CERTIFICATE": str(pair.certificate),
        "VIRTLEASE_TLS_KEY": str(pair.key),
    }
    with virtlease_up(folder, **settings) as (addresses, _):
        yield (
            addresses,
            {"VIRTLEASE_CLIENT_TOKEN": TOKENS["alice"], "VIRTLEASE_CLIENT_TLS_CA": str(authority.certificate)},
        )


def run(command: tuple[str, ...] | list[str], folder: Path, env: Mapping[str, str], seconds: float) -> str:
    """What the command writes to standard output. Fails with all it wrote when it fails."""
    ran = subprocess.run(
        command, cwd=folder, env=clean_environment(**env), capture_output=True, text=True, timeout=seconds, check=False
    )
    assert ran.returncode == 0, f"{' '.join(command)}:\n{ran.stdout}\n{ran.stderr}"
    return _COLOUR.sub("", ran.stdout)


@pytest.mark.timeout(BUILD_SECONDS + 60)
def test_the_main_job(language: Language, up: Addresses) -> None:
    assert run(language.command(up), ROOT / "clients" / language.folder, {}, 60) == GOLDEN


@pytest.mark.timeout(BUILD_SECONDS + 60)
def test_the_main_job_with_tls_and_a_token(language: Language, guarded: tuple[Addresses, dict[str, str]]) -> None:
    addresses, settings = guarded
    assert run(language.command(addresses), ROOT / "clients" / language.folder, settings, 60) == GOLDEN
