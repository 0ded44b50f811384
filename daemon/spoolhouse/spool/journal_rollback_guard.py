"""The journal's number of commits, stored beside it: a journal that is behind has lost its last entries.

SQLite cannot see that. A write-ahead log that was cut off, or a copy of yesterday that was put back, is a sound journal
of an earlier time; to believe it would be to send again what it does not know of.

Beside the number of commits stands how far the ledger has come: whoever reads the ledger asks here whether it is
behind, because nobody else can open the journal of a running instance.
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
        """Return how far the ledger had come at the last commit."""
        try:
            _, journalled, written = map(int, self._path.read_bytes().split())
        except (OSError, ValueError):
            return LedgerProgress()
        return LedgerProgress(journalled=journalled, written=written)

    def write(self, commits: int, ledger: LedgerProgress) -> None:
        """Say that there were so many commits, and how far the ledger has come."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                numbers = (commits, ledger.journalled, ledger.written)
                os.pwrite(descriptor, b" ".join(b"%0*d" % (_DIGITS, number) for number in numbers) + b"\n", 0)
                os.fdatasync(descriptor)
            finally:
                os.close(descriptor)
