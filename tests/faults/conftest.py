"""Real daemons and guests that are stopped, frozen and killed. Slow: `make test-faults`."""

from collections.abc import Iterator

import pytest
from support.guests import Guest
from support.libvirtd import Libvirtd, libvirtd_with_guests, private_libvirtd

Kvm = tuple[Libvirtd, list[Guest]]


@pytest.fixture
def daemon() -> Iterator[Libvirtd]:
    """A libvirtd of the test's own, without guests."""
    with private_libvirtd() as daemon:
        yield daemon


@pytest.fixture
def kvm() -> Iterator[Kvm]:
    """A libvirtd with two guests, `one` and `two`, each with a disk."""
    with libvirtd_with_guests("one", "two", disk=True) as found:
        yield found
