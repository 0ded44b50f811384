"""The journal's number of commits, stored beside it: a journal that is behind has lost its last entries.

SQLite cannot see that. A write-ahead log that was cut off, or a copy of yesterday that was put back, is a sound journal
of an earlier time; a daemon that believed it would send the missing shipments again.

The file also holds the numbers of journalled and of written ledger entries: by them a reader of the ledger knows
whether the ledger is behind. It cannot open the journal of a running instance.
"""

import contextlib
import os
from pathlib import Path

from spoolhouse.spool.journal_entries import LedgerProgress

_DIGITS = 20


class RollbackGuard:
    """The number of commits. Written after each of them, and synced: it may be older than the journal, not newer.

    Its name is made durable with that of the journal: both are made before the folder is synced.

    It is a witness, not a record: if it is missing or cannot be written, the journal is believed.
    """

    def __init__(self, journal: Path) -> None:
        """Store the number beside `journal`."""
        self._path = journal.with_name(f"{journal.name}-mark")

    def read(self) -> int:
        """Return the least number of commits."""
        try:
            return int(self._path.read_bytes().split()[0])
        except (OSError, ValueError, IndexError):
            return 0

    def ledger(self) -> LedgerProgress:
        """Return the progress of the ledger at the last commit."""
        try:
            _, journalled, written = map(int, self._path.read_bytes().split())
        except (OSError, ValueError):
            return LedgerProgress()
        return LedgerProgress(journalled=journalled, written=written)

    def write(self, commits: int, ledger: LedgerProgress) -> None:
        """Store the number of commits, and the progress of the ledger."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                numbers = (commits, ledger.journalled, ledger.written)
                os.pwrite(descriptor, b" ".join(b"%0*d" % (_DIGITS, number) for number in numbers) + b"\n", 0)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
