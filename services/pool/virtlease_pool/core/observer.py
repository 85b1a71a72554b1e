"""Who is told the times of a pool."""


class Observer:
    """Is told, and does nothing with it. All times are in seconds."""

    def waited(self, seconds: float) -> None:
        """A caller got a connection after this time."""

    def used(self, seconds: float) -> None:
        """A connection was given back after this time."""

    def created(self, seconds: float) -> None:
        """A connection was opened in this time."""
