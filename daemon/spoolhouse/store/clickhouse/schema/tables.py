"""Derive an event table's ClickHouse table from its declaration."""

from collections.abc import Mapping

from msgspec import Struct

from spoolhouse.events.declaration import ARRAYS, Column, Kind, Table
from spoolhouse.store.clickhouse.drivers.statements import STORED_TYPES
from spoolhouse.store.clickhouse.quoting import literal
from spoolhouse.store.clickhouse.schema.ddl import ColumnDefinition, IndexDefinition, TableDefinition, Ttl

INGESTED_AT = "ingested_at"
"""The shipment's journalled time, in every row."""
BATCH_ID = "batch_id"
"""The row's batch id, in every row of a table and of a rollup target."""
DEDUPLICATION_WINDOW = "non_replicated_deduplication_window"
WINDOW = 10_000
"""The number of inserted blocks (one per partition) whose tokens a table remembers."""
SETTINGS: Mapping[str, int] = {"index_granularity": 8192, DEDUPLICATION_WINDOW: WINDOW}
REPLICATED: Mapping[str, int] = {
    "index_granularity": 8192,
    "replicated_deduplication_window": WINDOW,
    "replicated_deduplication_window_seconds": 7 * 86_400,
}
"""The same for replicated tables, which keep their tokens in Keeper: so many, and for a week at most."""
SYNCED: Mapping[str, int] = {"fsync_after_insert": 1, "fsync_part_directory": 1}
"""The settings that make an acknowledged row survive a power loss of the server. They exist for tables, not for
queries.

A merge is not synced. It need not be: the parts that it replaces stay on the disk for minutes (`old_parts_lifetime`).
"""

TIME_TYPE = STORED_TYPES[Kind.TIME]
TIME_CODEC = "Delta(8), ZSTD(1)"
TEXT_CODEC = "ZSTD(1)"
BATCH_TYPE = "LowCardinality(String)"

TEXT_INDEX = "text(tokenizer = 'splitByNonAlpha')"
TEXT_INDEX_SINCE = (26, 2)
"""The server's version from which on a text index is no experiment."""
_BATCH_BLOOM = 0.01
_TEXTS = frozenset({Kind.TEXT, Kind.SCALAR, Kind.ANY, Kind.JSON})


def column_type(column: Column) -> str:
    """Return the ClickHouse type of a declared column, in the server's spelling.

    Raises ValueError where ClickHouse has no such type (an array that may be NULL).
    """
    name = _enum(column.choices) if column.kind is Kind.CHOICE else STORED_TYPES[column.kind]
    if column.nullable:
        if column.kind in ARRAYS:
            raise ValueError(f"column {column.name}: an array cannot be NULL in ClickHouse")
        name = f"Nullable({name})"
    return f"LowCardinality({name})" if column.low_cardinality else name


def _enum(choices: Mapping[str, int]) -> str:
    pairs = sorted(choices.items(), key=lambda pair: pair[1])
    return "Enum8(" + ", ".join(f"{literal(text)} = {value}" for text, value in pairs) + ")"


def column_definition(column: Column) -> ColumnDefinition:
    """Return a declared column as a definition."""
    return ColumnDefinition(name=column.name, type=column_type(column), default=_default(column), codec=_codec(column))


def _default(column: Column) -> str:
    # Used only for rows older than the column, and for rows inserted by hand.
    if column.default is None or column.default == "":
        return ""
    return literal(column.default)


def _codec(column: Column) -> str:
    if column.kind is Kind.TIME:
        return TIME_CODEC
    if column.kind in _TEXTS and not column.low_cardinality:
        return TEXT_CODEC
    return ""


def _bloom(column: str, rate: float) -> IndexDefinition:
    return IndexDefinition(name=f"idx_{column}", columns=(column,), type=f"bloom_filter({rate:g})")


class Storage(Struct, frozen=True, kw_only=True):
    """The storage of the tables that hold rows, whatever their columns."""

    durable: bool = False
    """The server syncs rows to its disk before it acknowledges them."""
    text_index: bool = False
    """The words of the columns that a table names are indexed."""
    replicated: bool = False
    on_cluster: str = ""

    @property
    def settings(self) -> Mapping[str, int]:
        """The settings of such a table."""
        return {**(REPLICATED if self.replicated else SETTINGS), **(SYNCED if self.durable else {})}


PLAIN = Storage()


def table_definition(table: Table, *, prefix: str, storage: Storage = PLAIN) -> TableDefinition:
    """Return the table that stores the valid events of `table`.

    Rows of one sorting key collapse into the one with the latest `recorded_at`, the event's own time: a late
    re-delivery of an old state does not win.
    """
    own = (
        ColumnDefinition(name=INGESTED_AT, type=TIME_TYPE, codec=TIME_CODEC),
        ColumnDefinition(name=BATCH_ID, type=BATCH_TYPE),
    )
    blooms = tuple(_bloom(column.name, column.bloom) for column in table.columns if column.bloom is not None)
    others = tuple(
        IndexDefinition(name=f"idx_{'_'.join(index.columns)}", columns=index.columns, type=index.type)
        for index in table.indexes
    )
    words = tuple(
        IndexDefinition(name=f"idx_{name}_words", columns=(name,), function="lower", type=TEXT_INDEX)
        for name in (table.words if storage.text_index else ())
    )
    return TableDefinition(
        name=prefix + table.name,
        columns=tuple(column_definition(column) for column in table.columns) + own,
        # Without it, a presence check would read the batch ids of a whole partition.
        indexes=(*blooms, *others, *words, _bloom(BATCH_ID, _BATCH_BLOOM)),
        engine="ReplacingMergeTree",
        version="recorded_at",
        partition_column=table.time,
        order_by=table.order_by,
        ttl=Ttl(column=table.time, days=table.ttl_days),
        settings=storage.settings,
        replicated=storage.replicated,
        on_cluster=storage.on_cluster,
    )
