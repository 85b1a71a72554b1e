"""Who holds leases: a client with a secret, by which all its leases live and can be found again after a break."""

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from virtlease_pool.leases.lease import Lease

_MOST_GRANTED = 4096


class Listener(Protocol):
    """Whoever is to know of leases that end without being released: the holder's stream."""

    def lost(self, lease: "Lease", error: Exception) -> None:
        """A lease of the holder ended with this error."""
        ...

    def replaced(self) -> None:
        """The holder has come on another stream."""
        ...


class Holder:
    """One holder at this replica.

    Each sign of life on its stream keeps all its leases, at the price of a write to one field. A stream that breaks is
    only a hint that the holder is dead: it has a grace time to come back.
    """

    def __init__(self, owner: str, holder_id: str, ttl: float, purpose: str = "") -> None:
        self.owner = owner
        self.holder_id = holder_id
        self.ttl = ttl
        """How long its leases live without a sign of life on the stream, in seconds."""
        self.purpose = purpose
        self.ref = "holder-" + hashlib.blake2b(holder_id.encode(), digest_size=6).hexdigest()
        """A name for it that tells nothing of the secret."""
        self.leases: set[Lease] = set()
        self.deadline = 0.0
        """Until when it keeps its leases alive, on the clock of the event loop; 0 for one that never had a stream."""
        self.listener: Listener | None = None
        self.under_way: dict[str, asyncio.Task[Lease]] = {}
        """What it waits for, by request id: a retry after a break joins it."""
        self.granted: OrderedDict[str, tuple[bytes, Lease]] = OrderedDict()
        """What it was granted, by request id, with what tells the request from others."""

    def heartbeat(self) -> None:
        """It lives."""
        self.deadline = asyncio.get_running_loop().time() + self.ttl

    def attach(self, listener: Listener) -> None:
        """It has come on a stream. The newest stream is its only one."""
        if self.listener is not None:
            self.listener.replaced()
        self.listener = listener
        self.heartbeat()

    def detach(self, listener: Listener, grace: float) -> None:
        """Its stream has ended; it has `grace` seconds to come back on another one."""
        if self.listener is listener:
            self.listener = None
            self.deadline = asyncio.get_running_loop().time() + min(grace, self.ttl)

    def remember(self, request_id: str, fingerprint: bytes, lease: "Lease") -> None:
        """Keeps what a request was granted."""
        self.granted[request_id] = (fingerprint, lease)
        if len(self.granted) > _MOST_GRANTED:
            self.granted.popitem(last=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it."""
        return not self.leases and self.listener is None and not self.under_way
