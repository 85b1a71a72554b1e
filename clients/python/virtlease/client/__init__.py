"""What callers of the services share: errors with their reasons, and streams that carry batches of calls."""

import os

# Before gRPC is loaded. Its own handlers of fork crash the child now and then (SIGSEGV) when another thread is inside
# gRPC, as the client's always is; without them the child is simply told to open another client.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from virtlease.client.batch_stream import BatchStream
from virtlease.client.errors import CallFailed
from virtlease.client.session_pipeline import SessionPipeline

__all__ = ["BatchStream", "CallFailed", "SessionPipeline"]
