"""Finds out who is calling, from what a call carries."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from virtlease_chassis.errors import Unauthenticated
from virtlease_chassis.identity.identity_file import Identities, read_identities
from virtlease_chassis.identity.principal import EVERYTHING, PRINCIPAL_HEADER, Caller, Principal
from virtlease_chassis.watched_file import WatchedFile

ANONYMOUS = Principal("default", "anonymous", frozenset({EVERYTHING}))
_ANONYMOUS_CALLER = Caller(ANONYMOUS, ANONYMOUS, authenticated=False)
_EMBEDDED_CALLER = Caller(ANONYMOUS, ANONYMOUS, authenticated=False, embedded=True)


class Authenticator:
    """Knows callers by bearer token or client certificate.

    Without an identity file everybody is anonymous: the address that a server listens on is the wall then, and
    `ProcessSettings.check_exposed` sees to it. `extra` are tokens that the process itself has given out.
    """

    def __init__(self, identity_file: Path | None, extra: Mapping[str, Principal] | None = None) -> None:
        self._file: WatchedFile[Identities] | None = None
        if identity_file is not None:
            self._file = WatchedFile(identity_file, read_identities)
        self._extra = {hash_token(token): principal for token, principal in (extra or {}).items()}

    @property
    def anonymous(self) -> bool:
        """Whether nobody is asked who they are."""
        return self._file is None

    def caller(
        self, metadata: Mapping[str, str | bytes], peer: str, certificate_names: Callable[[], Iterable[str]]
    ) -> Caller:
        """Who makes the call. Raises Unauthenticated or PermissionDenied.

        Args:
            metadata: the call's metadata, keys in lower case.
            peer: the address it came from, as gRPC spells it.
            certificate_names: returns the names in the client's verified certificate.
        """
        if self._file is None:
            return _EMBEDDED_CALLER if peer.startswith("unix:") else _ANONYMOUS_CALLER
        agent = self._agent(metadata.get("authorization"), certificate_names)
        caller = Caller(agent, agent, authenticated=True, embedded=peer.startswith("unix:"))
        header = metadata.get(PRINCIPAL_HEADER)
        return caller.acting_as(str(header)) if header else caller

    def principal_of_token(self, token: str) -> Principal | None:
        """Whose token it is, if anybody's."""
        digest = hash_token(token)
        if self._file and (principal := self._file.content().by_token.get(digest)):
            return principal
        return self._extra.get(digest)

    def _agent(self, authorization: str | bytes | None, certificate_names: Callable[[], Iterable[str]]) -> Principal:
        assert self._file is not None
        if isinstance(authorization, str):
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer" and (principal := self.principal_of_token(token)):
                return principal
            raise Unauthenticated("the bearer token is not known here")
        by_certificate = self._file.content().by_certificate
        if by_certificate:
            for name in certificate_names():
                if name in by_certificate:
                    return by_certificate[name]
        raise Unauthenticated("send `authorization: Bearer <token>`")


def hash_token(token: str) -> str:
    """What an identity file keeps of a token. Tokens are long and random, so one round of SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()
