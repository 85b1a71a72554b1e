"""The implementations over which the contracts run."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.client_store import client
from support.session_stores import KINDS, StoreUnderTest
from support.session_verbs import Verbs

# The client too: what a store promises has to come through
OVER = {**KINDS, "client": client}


@pytest.fixture(params=OVER)
async def tested(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreUnderTest]:
    """A fresh, empty store of each kind."""
    async with OVER[request.param](tmp_path) as store:
        yield store


@pytest.fixture
def store(tested: StoreUnderTest) -> Verbs:
    return Verbs(tested.store)
