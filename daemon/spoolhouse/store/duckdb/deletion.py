"""Deletes events of a DuckDB file by id, within a project: rows and tombstones in one transaction."""

from collections.abc import Sequence

import duckdb

from spoolhouse.clock import now_ms
from spoolhouse.events.declaration import Table
from spoolhouse.events.tombstones import DELETABLE, TOMBSTONES, expect_deletable
from spoolhouse.recover.ports import Deleted
from spoolhouse.spool.row_ranges import whole_of
from spoolhouse.store.duckdb import ledger
from spoolhouse.store.duckdb.database import Database
from spoolhouse.store.duckdb.quoting import identifier
from spoolhouse.store.duckdb.schema import BATCH_ID, INGESTED_AT


async def delete(database: Database, prefix: str, what: str, *, project: str, ids: Sequence[str]) -> Deleted:
    """Delete events. Harmless for what is not there. Raises `StoreError`.

    Their room in the file is used again: until then, the file may hold their bytes.
    """
    expect_deletable(what, project, ids)
    return await database.run(lambda own: _Deletion(own, prefix, what, project).run(ids))


class _Deletion:
    """The steps of one transaction. Methods raise `duckdb.Error`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, prefix: str, what: str, project: str) -> None:
        self._connection = connection
        self._prefix = prefix
        self._what = what
        self._project = project

    def run(self, ids: Sequence[str]) -> Deleted:
        batches = {one: self._earlier(one) for one in ids}
        rows: dict[str, int] = {}
        deleted_ms = now_ms()
        for table, column in DELETABLE[self._what]:
            rows[table.name] = 0
            for one, batch, count, last_ms in self._found(table, column, ids):
                batches[one].add(batch)
                rows[table.name] += count
                # The clock of the daemon that shipped them may be ahead of this one.
                deleted_ms = max(deleted_ms, last_ms)
            self._delete(table, column, ids)
        for one, some in batches.items():
            self._mark(one, sorted(some), deleted_ms)
        every = sorted(map(whole_of, set().union(*batches.values())))
        return Deleted(rows=rows, files=ledger.files_of(self._connection, every, prefix=self._prefix))

    def _found(self, table: Table, column: str, ids: Sequence[str]) -> list[tuple[str, str, int, int]]:
        """Return the rows that there are: by id and batch, how many, and when the last of them was shipped."""
        return self._connection.execute(
            f"SELECT {identifier(column)}, {BATCH_ID}, count(*), epoch_ms(max({INGESTED_AT}))"
            f" FROM {self._name(table)} WHERE {_where(column)} GROUP BY ALL",
            [self._project, list(ids)],
        ).fetchall()

    def _delete(self, table: Table, column: str, ids: Sequence[str]) -> None:
        self._connection.execute(f"DELETE FROM {self._name(table)} WHERE {_where(column)}", [self._project, list(ids)])

    def _earlier(self, one: str) -> set[str]:
        """Return the batches in the tombstones of an id."""
        found = self._connection.execute(
            f"SELECT DISTINCT unnest(batches) FROM {self._name(TOMBSTONES)}"
            " WHERE project_id = ? AND deleted = ? AND id = ?",
            [self._project, self._what, one],
        )
        return {batch for (batch,) in found.fetchall()}

    def _mark(self, one: str, batches: Sequence[str], deleted_ms: int) -> None:
        at = "make_timestamp_ms(?)::TIMESTAMP_MS"
        self._connection.execute(
            f"INSERT INTO {self._name(TOMBSTONES)} VALUES (?, ?, ?, ?::VARCHAR[], {at}, {at}, {at}, 'tombstones')",
            [self._project, self._what, one, list(batches), deleted_ms, deleted_ms, deleted_ms],
        )

    def _name(self, table: Table) -> str:
        return identifier(self._prefix + table.name)


def _where(column: str) -> str:
    return f"project_id = ? AND {identifier(column)} IN (SELECT unnest(?::VARCHAR[]))"
