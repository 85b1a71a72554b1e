"""What callers of the services share: errors with their reasons, and streams that carry batches of calls."""

from virtlease.client.batch_stream import BatchStream
from virtlease.client.errors import CallFailed
from virtlease.client.session_pipeline import SessionPipeline

__all__ = ["BatchStream", "CallFailed", "SessionPipeline"]
