"""Tombstones: a table that records which events were deleted on request, so that no replay brings them back.

A tombstone covers what had been shipped before it: an event that comes later is an event of its own.
"""

from collections.abc import Mapping, Sequence

from spoolhouse.errors import BadRequestError
from spoolhouse.events.builtin import FEEDBACK, LOGS, SCORES, SPANS, TRACES
from spoolhouse.events.declaration import Column, Kind, Table

DELETABLE: Mapping[str, tuple[tuple[Table, str], ...]] = {
    "traces": tuple((table, "trace_id") for table in (TRACES, SPANS, LOGS, SCORES, FEEDBACK)),
    "scores": ((SCORES, "id"),),
    "feedback": ((FEEDBACK, "id"),),
}
"""By what is deleted: the tables that have rows of it, and the column of the id."""
MOST_IDS = 1000
"""Of one deletion."""


def expect_deletable(what: str, project: str, ids: Sequence[str]) -> None:
    """Raise `BadRequestError` for a deletion that is not accepted."""
    if what not in DELETABLE:
        raise BadRequestError(f"delete: {what!r} is not one of {', '.join(DELETABLE)}")
    if not project or not ids or len(ids) > MOST_IDS:
        raise BadRequestError(f"delete: a project, and 1 to {MOST_IDS} ids, are accepted")


def _column(name: str, kind: Kind, *, low_cardinality: bool = False) -> Column:
    return Column(name=name, kind=kind, keys=(name,), required=True, low_cardinality=low_cardinality)


TOMBSTONES = Table(
    name="tombstones",
    columns=(
        _column("project_id", Kind.TEXT, low_cardinality=True),
        _column("deleted", Kind.TEXT, low_cardinality=True),
        _column("id", Kind.TEXT),
        _column("batches", Kind.TEXTS),
        _column("deleted_at", Kind.TIME),
        _column("recorded_at", Kind.TIME),
    ),
    order_by=("project_id", "deleted", "id"),
    time="deleted_at",
    # As long as the ledger, without which nothing is replayed.
    ttl_days=730,
)
