"""A store in memory, with transactions: the smallest thing that the pipeline can land rows in."""

from collections.abc import Collection
from dataclasses import dataclass, field

from spoolhouse.errors import OperatorError, RejectedDataError, TransientError, UnreachableError
from spoolhouse.events.declaration import Table
from spoolhouse.spool.batch import BatchToLand


@dataclass(slots=True)
class MemoryStore:
    """The lines of each batch, by table and batch id; it satisfies `pipeline.ports.Store`."""

    tables: dict[str, dict[str, list[bytes]]] = field(default_factory=dict)
    refused: bytes = b""
    """A row that holds this is refused."""
    busy: set[str] = field(default_factory=set)
    """Tables that take nothing for now."""
    breaks_off: bool = False
    """The next batch is not stored."""
    loses_answer: bool = False
    """The next batch is stored, and nobody hears of it."""

    def name(self, table: Table) -> str:
        """Return the table's name."""
        return table.name

    async def may_refuse(self, tables: Collection[Table]) -> bool:
        """Tell whether there is a row to refuse."""
        return bool(self.refused and tables)

    async def check(self, batch: BatchToLand) -> None:
        """Raise `RejectedDataError` for a row that would be refused."""
        async with batch.rows() as pieces:
            async for rows in pieces:
                if self.refused and self.refused in rows.data:
                    raise RejectedDataError("a row is refused", code=2)

    async def land(self, batch: BatchToLand) -> None:
        """Store all rows, or none."""
        lines: list[bytes] = []
        async with batch.rows() as pieces:
            async for rows in pieces:
                lines += rows.data.splitlines()
        if self.breaks_off:
            self.breaks_off = False
            raise UnreachableError("the connection broke off")
        if batch.table.name not in self.tables:
            raise OperatorError(f"there is no table {batch.table.name}")
        if batch.table.name in self.busy:
            raise TransientError(f"{batch.table.name} is busy", code=1)
        if self.refused and any(self.refused in line for line in lines):
            raise RejectedDataError("a row is refused", code=2)
        # An id stands for the same rows for all time: once is enough.
        self.tables[batch.table.name].setdefault(batch.id, lines)
        if self.loses_answer:
            self.loses_answer = False
            raise UnreachableError("the answer is lost", ambiguous=True)
