"""Finds shipments that a store has rows of, and that dead instances have not finished.

The next daemon goes on with them: if it lands in another store, it sends the rows again, or writes ledger entries of
batches that are not there.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path

from spoolhouse.events.declaration import Table
from spoolhouse.recover.ports import SentBatches
from spoolhouse.spool import instance_dirs, layout
from spoolhouse.spool.instance import Instance

_MOST_ENTRIES = 100_000
"""Ledger entries that are read into memory. More never wait for a DuckDB file: it takes them whenever it takes rows."""


async def unfinished(spool: Path, sent: SentBatches, tables: Collection[Table]) -> AsyncIterator[tuple[Path, str]]:
    """Yield the unfinished shipments that `sent` knows: the folder of the instance, and the shipment's id.

    Running instances are left out: nobody else may read their journals. Raises `StoreError`, `SpoolhouseError`, and
    OSError.
    """
    for instance in await asyncio.to_thread(instance_dirs.names, spool):
        for shipment in await asyncio.to_thread(_unfinished, spool, instance):
            if await sent.find(shipment, tables):
                yield layout.state_folder(spool) / instance, shipment


def _unfinished(spool: Path, instance_id: str) -> list[str]:
    """Return the shipments of a dead instance that are not acknowledged, or not in the ledger. Blocks on the disk."""
    instance = Instance.adopt(spool, instance_id)
    if instance is None:
        return []
    try:
        planned = [shipment.id for shipment in instance.journal.load(()).planned]
        entries = instance.journal.entries(_MOST_ENTRIES)
        return list(dict.fromkeys([*planned, *(entry.lineage.batch.partition(":")[0] for _, entry in entries)]))
    finally:
        instance.close()
