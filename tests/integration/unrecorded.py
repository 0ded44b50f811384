"""For stages that are tried without a server: nobody writes the ledger, so the journals drop its entries."""

from collections.abc import Iterable

from spoolhouse.spool.instance import Instance


def drop_entries(instances: Iterable[Instance]) -> None:
    """Stand where the ledger's recorder does; no entry may be of rows, because nothing has landed."""
    for instance in instances:
        for number, entry in instance.journal.entries(1_000_000):
            assert not entry.lineage.rows
            instance.journal.recorded(number)
