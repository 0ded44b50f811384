"""Figures as DuckDB's SQL: from rows, always."""

from spoolhouse.query.questions import Aggregate
from spoolhouse.store.duckdb.query.dialect import Statement


def rendered(prefix: str, asked: Aggregate) -> tuple[str, Statement]:
    """Return the statement for figures: groups, the bucket in ms (where there are intervals), figures."""
    made = Statement(prefix)
    return made.figures(asked), made
