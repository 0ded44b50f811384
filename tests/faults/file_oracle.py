"""The oracle of a spool whose rows land in a DuckDB file. It reads the file while no daemon has it."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import duckdb

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.service.duckdb import tables_of
from spoolhouse.store.duckdb.schema import bring_up_to_date
from tests.faults.oracle import PREFIX, REFUSED, AnyOracle, Row, Store, assert_same

FUNCTIONS = (
    "toUnixTimestamp(moment) AS epoch_ms(moment) // 1000",
    "isNotNull(anything) AS (anything IS NOT NULL)::INTEGER",
)
"""ClickHouse's, as the oracle uses them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A DuckDB file."""

    path: Path

    @property
    def native_url(self) -> str:
        """There is one way to it."""
        return f"duckdb://{self.path}"

    @property
    def http_url(self) -> str:
        """There is one way to it."""
        return self.native_url

    def query(self, sql: str) -> list[Row]:
        """Run one statement."""
        with duckdb.connect(self.path, read_only=True) as connection:
            for function in FUNCTIONS:
                connection.execute(f"CREATE TEMP MACRO {function}")
            return connection.execute(sql).fetchall()

    def prepare(self) -> None:
        """Make it, with the schema, so that no daemon needs to, and with tables that refuse a text."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(self.path, config={"storage_compatibility_version": "v1.5.0"}) as connection:
            bring_up_to_date(connection, tables_of(BUILT_IN), prefix=PREFIX)
            for table, column in (("logs", "message"), ("tool_calls", "tool_name")):
                # A constraint can only be made with its table.
                made = "SELECT sql FROM duckdb_tables() WHERE table_name = ?"
                [(sql,)] = connection.execute(made, [PREFIX + table]).fetchall()
                check = f", CHECK ({column} != '{REFUSED}'));"
                connection.execute(f"DROP TABLE {PREFIX}{table}; {sql.removesuffix(');')}{check}")

    def copy(self, path: Path) -> "File":
        """Return another one with the same content."""
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.path, path)
        return File(path=path)


@dataclass(kw_only=True)
class FileOracle(AnyOracle):
    """Of a spool whose rows land in a DuckDB file."""

    file: File

    @property
    def store(self) -> Store:
        """The file."""
        return self.file

    def check_rows_at_most_once(self, *, all_of_them: bool) -> None:
        """No line is there twice, and each batch is whole; `all_of_them`: and none is missing."""
        if all_of_them:
            self.check_rows()
        self.check_counts()
        [(rows, ids)] = self.file.query(f"SELECT count(*), count(DISTINCT span_id) FROM {PREFIX}spans")
        assert rows == ids

    def check_counts(self) -> None:
        """Each batch that is said to have landed is there, whole, and no other."""
        said = self.file.query(f"SELECT table_name, batch_id, row_count FROM {PREFIX}batches")
        found = [
            (table, batch, count)
            for table in ("spans", "logs", "events", "tool_calls")
            for batch, count in self.file.query(f"SELECT batch_id, count(*) FROM {PREFIX}{table} GROUP BY ALL")
        ]
        assert_same(found, said, "batches")
