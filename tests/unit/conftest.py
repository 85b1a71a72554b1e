"""Unit tests see no settings of the machine's, and take no more than five seconds."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("VIRTLEASE_", "OTEL_")):
            monkeypatch.delenv(name)
