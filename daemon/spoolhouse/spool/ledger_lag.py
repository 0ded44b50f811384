"""Whether the ledger is behind: entries of files that have settled may still be in a journal. Blocks on the disk."""

from collections.abc import Mapping
from pathlib import Path

from spoolhouse.spool import instance_dirs, layout
from spoolhouse.spool.journal_rollback_guard import RollbackGuard


def journalled(spool: Path) -> Mapping[str, int]:
    """Return how many entries each instance of the spool has ever journalled.

    A file that was in its final place before has all of its entries among them.
    """
    return {name: _guard(spool, name).ledger().journalled for name in instance_dirs.names(spool)}


def unwritten(spool: Path, entries: Mapping[str, int]) -> int:
    """Return how many of these `entries` the ledger does not have yet. A folder that is gone had none left."""
    behind = 0
    for name, count in entries.items():
        ledger = _guard(spool, name).ledger()
        behind += max(0, min(count, ledger.journalled) - ledger.written)
    return behind


def _guard(spool: Path, instance: str) -> RollbackGuard:
    return RollbackGuard(layout.state_folder(spool) / instance / layout.JOURNAL)
