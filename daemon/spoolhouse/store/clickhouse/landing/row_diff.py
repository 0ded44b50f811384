"""Rows as they were shipped, one by one, beside what their table holds of them now.

What a statement gives a name to begins with `_`, which no column of a table does: a declared type may have any other.
"""

from collections.abc import AsyncIterator, Collection

from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Table
from spoolhouse.recover.ports import DELETED, DIFFERENT, EXPIRED, MISSING, SUPERSEDED, THERE, RowDiff
from spoolhouse.store.clickhouse.driver import RowsInsert
from spoolhouse.store.clickhouse.landing.repair import Repairer
from spoolhouse.store.clickhouse.landing.tombstones import is_deleted
from spoolhouse.store.clickhouse.quoting import identifier, identifiers
from spoolhouse.store.clickhouse.typed_rows import typed

_EXAMPLES = 5


async def count_mismatched(
    repairer: Repairer,
    table: Table,
    insert: RowsInsert,
    rows: AsyncIterator[Rows],
    *,
    found: Collection[str],
    shipment: str,
) -> int:
    """Count rows that contradict batch-level presence: there where the batch is not, or absent where it is.

    `found` are the partitions that have something of the batch, of this `shipment`. Raises `StoreError`.
    """
    own, _ = await repairer.stage_kept(table, insert, rows)
    keys = identifiers(table.order_by)
    written = f"SELECT {keys}, _partition_id AS _month, {_is_expired(table)} AS _expired FROM {identifier(own)}"  # noqa: S608  # declared names
    held = (
        f"SELECT {keys}, 1 AS _known, countIf(startsWith(batch_id, {{shipment:String}})) AS _ours"  # noqa: S608  # declared names
        f" FROM {_same_keys(repairer, table, own)} GROUP BY {keys}"
    )
    ((count,),) = await repairer.driver.execute(
        f"SELECT count() FROM ({written}) AS _written LEFT JOIN ({held}) AS _held USING ({keys})"  # noqa: S608  # declared names
        " WHERE if(has({found:Array(String)}, _month), ifNull(_known, 0) = 0 AND NOT _expired, ifNull(_ours, 0) > 0)",
        {"shipment": shipment, "found": list(found)},
    )
    await repairer.drop_staging(insert.batch_id)
    return int(str(count))


async def compare(repairer: Repairer, table: Table, own: str) -> dict[str, list[RowDiff]]:
    """Return how the rows that are staged in `own` fare in their table, every column compared, by their batch id.

    Raises `StoreError`.
    """
    keys = identifiers(table.order_by)
    # As text: the hash of a NULL is NULL, whatever stands beside it.
    everything = f"cityHash64(toString(({identifiers(tuple(column.name for column in table.columns))})))"
    deleted = is_deleted(table, own, prefix=repairer.read_prefix)
    written = (
        f"SELECT {keys}, `recorded_at` AS _version, {everything} AS _content, {_is_expired(table)} AS _expired,"  # noqa: S608  # declared names
        f" toString(`batch_id`) AS _batch, {deleted} AS _deleted FROM {identifier(own)}"
    )
    held = (
        f"SELECT {keys}, max(`recorded_at`) AS _latest, groupUniqArray({everything}) AS _contents, 1 AS _known"  # noqa: S608  # declared names
        f" FROM {_same_keys(repairer, table, own)} GROUP BY {keys}"
    )
    judged = (
        f"SELECT _batch, toString(({keys})) AS _row, multiIf(has(_contents, _content), '{THERE}',"  # noqa: S608  # declared names
        f" ifNull(_known, 0) = 0, multiIf(_expired, '{EXPIRED}', _deleted, '{DELETED}', '{MISSING}'),"
        f" _latest > _version, '{SUPERSEDED}', '{DIFFERENT}') AS _verdict"
        f" FROM ({written}) AS _written LEFT JOIN ({held}) AS _held USING ({keys})"
    )
    found = await repairer.driver.execute(
        f"SELECT _batch, _verdict, count(), arrayStringConcat(groupArraySorted({_EXAMPLES})(_row), '\\n')"  # noqa: S608  # declared names
        f" FROM ({judged}) GROUP BY _batch, _verdict ORDER BY _batch, _verdict"
    )
    verdicts: dict[str, list[RowDiff]] = {}
    for batch, verdict, count, examples in typed(found, tuple[str, str, int, str]):
        one = RowDiff(verdict=verdict, rows=count, examples=tuple(examples.split("\n")))
        verdicts.setdefault(batch, []).append(one)
    return verdicts


def _same_keys(repairer: Repairer, table: Table, own: str) -> str:
    """Return what stands after FROM to read the rows, of all shards, that have the key of one in `own`."""
    keys = identifiers(table.order_by)
    # Global: `own` is on this server alone.
    own_keys = f"SELECT {keys} FROM {identifier(own)}"  # noqa: S608  # declared names
    return f"{identifier(repairer.everywhere(table))} WHERE ({keys}) GLOBAL IN ({own_keys})"


def _is_expired(table: Table) -> str:
    return f"toDateTime({identifier(table.time)}) + toIntervalDay({table.ttl_days}) <= now()"
