"""What a caller can do about a call that failed, added to its message."""

import contextlib
from collections.abc import Iterator

from virtlease.client.errors import NotAuthenticated, ServiceUnavailable
from virtlease.client.target import Target


@contextlib.contextmanager
def advising(service: str, target: Target) -> Iterator[None]:
    """Says what to do when the service is not there, or does not know its caller."""
    try:
        yield
    except ServiceUnavailable as error:
        if error.reason:
            raise  # the service was reached, and says itself what it lacks
        raise error.advised(
            f"the {service} service at {target.address} was not reached: is it running there (`virtlease {service}`), "
            f"and does it speak {'TLS' if target.tls_ca else 'plain text, without TLS'}?"
        ) from None
    except NotAuthenticated as error:
        what = "the token was not accepted" if target.token else "no token was given"
        raise error.advised(f"{what}: set token= or VIRTLEASE_CLIENT_TOKEN to one that the service knows") from None
