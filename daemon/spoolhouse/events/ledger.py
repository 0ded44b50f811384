"""The ledger: a table that records which rows came from which bytes of which file.

Rows carry a batch id; the ledger maps batches to byte ranges of files, so that either end leads to the other.
"""

from spoolhouse.events.declaration import Column, Kind, Table


def _column(name: str, kind: Kind, *, low_cardinality: bool = False, bloom: float | None = None) -> Column:
    return Column(name=name, kind=kind, keys=(name,), required=True, low_cardinality=low_cardinality, bloom=bloom)


LEDGER = Table(
    name="ledger",
    columns=(
        _column("file", Kind.TEXT),
        _column("inode", Kind.INTEGER),
        _column("claimed_at", Kind.TIME),
        _column("batch", Kind.TEXT, bloom=0.01),
        _column("table_name", Kind.TEXT, low_cardinality=True),
        _column("range_start", Kind.INTEGER),
        _column("range_end", Kind.INTEGER),
        _column("first_row", Kind.INTEGER),
        _column("row_count", Kind.INTEGER),
        _column("parts", Kind.JSON),
        _column("shipped_at", Kind.TIME),
        _column("recorded_at", Kind.TIME),
    ),
    order_by=("file", "claimed_at", "batch", "range_start"),
    time="shipped_at",
    ttl_days=730,
)
