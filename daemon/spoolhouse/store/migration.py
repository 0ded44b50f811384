"""Differences between a database and the declared schema, of whatever store."""

from msgspec import Struct


class Change(Struct, frozen=True, kw_only=True):
    """One statement that adds something and loses nothing."""

    name: str
    """The database, table or view that it changes."""
    what: str
    """A summary for a person: `+ column x String`, `~ TTL 30 days, was 7`."""
    statement: str


class Refusal(Struct, frozen=True, kw_only=True):
    """A difference that a person must settle, because that loses, rewrites or recounts data."""

    name: str
    """The table or view."""
    reason: str
    """The difference, in one line."""
    statement: str
    """The statement that would settle it, or make way for it. It is never run."""
    hint: str = ""
    """A better way than that statement, where there is one."""
    blocking: bool = False
    """The object is not what its name says: nothing is added to it, and nothing that depends on it is created."""

    def __str__(self) -> str:
        """Return the name and the difference."""
        return f"{self.name}: {self.reason}"
