"""Who is calling, and what they may do."""

from virtlease_chassis.identity.authenticator import Authenticator
from virtlease_chassis.identity.principal import Caller, Principal, current_caller, reauthenticate

__all__ = ["Authenticator", "Caller", "Principal", "current_caller", "reauthenticate"]
