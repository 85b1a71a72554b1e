"""Other pools, made to pool connections that do nothing: each is driven by its own public interface."""

from bench.peers.pools import PEERS, Peer, Subject

__all__ = ["PEERS", "Peer", "Subject"]
