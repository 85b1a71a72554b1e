"""Everything in one process, shared by the tests of a module."""

from collections.abc import Iterator

import pytest
from support.processes import Addresses, virtlease_up


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    """`virtlease up` as a user starts it."""
    with virtlease_up(tmp_path_factory.mktemp("up")) as (addresses, _):
        yield addresses
