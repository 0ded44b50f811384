"""What the doctor says."""

from dataclasses import dataclass
from enum import StrEnum

from spoolhouse.errors import StoreError


class Level(StrEnum):
    """How bad it is."""

    GOOD = "good"
    WARNING = "warning"
    """It works, and may hurt some day."""
    FAULT = "fault"
    """It does not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. What is good needs no more words than `what`."""

    subject: str
    """What it is about, in a word or two."""
    level: Level
    what: str
    why: str = ""
    """Why it matters."""
    hint: str = ""


def good(subject: str, what: str) -> Finding:
    """Return a finding that needs nobody."""
    return Finding(subject=subject, level=Level.GOOD, what=what)


def warning(subject: str, what: str, *, why: str, hint: str) -> Finding:
    """Return a finding that may hurt some day."""
    return Finding(subject=subject, level=Level.WARNING, what=what, why=why, hint=hint)


def fault(subject: str, what: str, *, why: str, hint: str) -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(subject=subject, level=Level.FAULT, what=what, why=why, hint=hint)


def unknown(subject: str, error: StoreError, *, level: Level = Level.WARNING) -> Finding:
    """Return a finding for what the server did not let us look at; `level` says how much it is needed."""
    what, hint = f"could not be looked at: {error.message}", error.hint or "see the message"
    return Finding(subject=subject, level=level, what=what, why="what is not known is not safe", hint=hint)
