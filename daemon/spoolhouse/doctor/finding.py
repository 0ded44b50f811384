"""Findings: what is wrong, why it matters, and the fix."""

from enum import StrEnum

from msgspec import Struct

from spoolhouse.errors import StoreError


class Level(StrEnum):
    """The severity."""

    GOOD = "good"
    WARNING = "warning"
    """It works, and may fail later."""
    FAULT = "fault"
    """It does not work."""


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check. A good one has no `why` and no `hint`."""

    subject: str
    """A word or two, the same for all findings of a check."""
    level: Level
    what: str
    why: str = ""
    """Why it matters."""
    hint: str = ""


def good(subject: str, what: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(subject=subject, level=Level.GOOD, what=what)


def warning(subject: str, what: str, *, why: str, hint: str) -> Finding:
    """Return a finding of something that may fail later."""
    return Finding(subject=subject, level=Level.WARNING, what=what, why=why, hint=hint)


def fault(subject: str, what: str, *, why: str, hint: str) -> Finding:
    """Return a finding of something that does not work."""
    return Finding(subject=subject, level=Level.FAULT, what=what, why=why, hint=hint)


def unknown(subject: str, error: StoreError, *, level: Level = Level.WARNING) -> Finding:
    """Return a finding of a question that the server refused; `level` depends on how much the answer is needed."""
    what, hint = f"could not be checked: {error.message}", error.hint or "see the message"
    return Finding(subject=subject, level=level, what=what, why="a fault would not be seen", hint=hint)
