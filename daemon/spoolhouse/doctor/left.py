"""Judges what the spool keeps for a person: rejected lines, and files in `failed/`."""

from collections.abc import Iterator
from pathlib import Path

from spoolhouse.doctor.finding import Finding, warning
from spoolhouse.monitoring.status_model import REJECTED_HINT, RETRY_HINT
from spoolhouse.spool.inspect import leftovers

SUBJECT = "left"


def examine(root: Path) -> Iterator[Finding]:
    """Yield a finding for each of the two of which there is something. Blocks on the disk."""
    left = leftovers(root)
    if left.rejected.files:
        files = _counted(left.rejected.files, "file")
        lines = "" if left.rejected_lines is None else f"{_counted(left.rejected_lines, 'rejected line')} in "
        why = "these lines have not landed"
        yield warning(SUBJECT, f"{lines or 'rejected lines in '}{files}", why=why, hint=REJECTED_HINT)
    if left.failed.files:
        why = "what comes after the damage in such a file has not landed"
        yield warning(SUBJECT, f"{_counted(left.failed.files, 'file')} in failed/", why=why, hint=RETRY_HINT)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
