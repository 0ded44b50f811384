"""A DuckDB file's answers to the doctor."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from spoolhouse.doctor.ports import Difference, Drift
from spoolhouse.events.declaration import Table
from spoolhouse.store.duckdb import schema
from spoolhouse.store.duckdb.database import Database


class Inspection(Struct, frozen=True, kw_only=True):
    """The `InspectedFile` of DuckDB."""

    database: Database
    tables: Sequence[Table]
    prefix: str
    migrates: bool

    @property
    def path(self) -> Path:
        """The file."""
        return self.database.path

    async def drift(self) -> Drift:
        """Return how the schema differs from the declared one."""
        plan = await self.database.run(lambda own: schema.plan(own, self.tables, prefix=self.prefix))
        missing = tuple(change.name for change in plan.changes if change.what == "+ table")
        return Drift(
            refused=tuple(Difference(text=str(one), statement=one.statement) for one in plan.refusals),
            statements=tuple(change.statement for change in plan.changes),
            missing=missing,
            missing_all=len(missing) > len(self.tables),  # `batches` is one, too
        )
