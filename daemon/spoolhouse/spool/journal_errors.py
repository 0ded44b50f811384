"""Classify errors of SQLite: try again, or leave the journal as it is."""

import sqlite3
from pathlib import Path

from spoolhouse.errors import DiskError, JournalError, SpoolhouseError

FAULTS = (sqlite3.Error, UnicodeError, OSError)
"""Errors of a damaged database; its messages, too, may quote bytes that are no text. A failpoint raises OSError."""
_REFUSALS = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_BUSY,
    }
)
"""The primary result codes that say nothing of the database itself: only that it cannot be used just now."""
_PRIMARY = 0xFF


def meant(path: Path, error: Exception) -> SpoolhouseError:
    """Return the error for the caller's decision: try again, or leave the journal as it is."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, OSError) or (code is not None and code & _PRIMARY in _REFUSALS):
        hint = "make room on its disk, and let the daemon's user write there"
        return DiskError(f"{path}: {getattr(error, 'strerror', None) or error}", hint=hint)
    return JournalError(f"{path}: {error}")
