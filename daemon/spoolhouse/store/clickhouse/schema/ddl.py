"""Definitions of ClickHouse objects as values, and their statements.

All text in them comes from declarations and settings, never from an event.
"""

import hashlib
import re
from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal

Database = str | None
"""The database that qualifies a name; None leaves names unqualified, for a script that runs in any database."""

MARK = "spoolhouse"
"""Views carry `{MARK} {fingerprint}` as their comment, which reveals a changed definition.

A view that shows a later version of its rollup than the first adds ` v{version}`.
"""
_SHOWN = re.compile(rf"{MARK} [0-9a-f]+ v(\d+)")


def qualified(database: Database, name: str) -> str:
    """Return the quoted name of a table or view, with its database where one is given."""
    return identifier(name) if database is None else f"{identifier(database)}.{identifier(name)}"


def partition_by(column: str) -> str:
    """Return the partition key of a table with that time column: months."""
    return f"toYYYYMM({identifier(column)})"


def placed(database: Database, name: str, on_cluster: str) -> str:
    """Return a name for a statement that changes its object: with the cluster on which the statement runs."""
    return qualified(database, name) + (f" ON CLUSTER {identifier(on_cluster)}" if on_cluster else "")


class ColumnDefinition(Struct, frozen=True, kw_only=True):
    """One column. `type` is spelled exactly as in system.columns: drift is found by comparing the two."""

    name: str
    type: str
    default: str = ""
    """The SQL of the value in rows older than the column; empty for the type's own default."""
    codec: str = ""

    def sql(self) -> str:
        """Return the column for CREATE TABLE and ADD COLUMN."""
        default = f" DEFAULT {self.default}" if self.default else ""
        codec = f" CODEC({self.codec})" if self.codec else ""
        return f"{identifier(self.name)} {self.type}{default}{codec}"


class IndexDefinition(Struct, frozen=True, kw_only=True):
    """One data skipping index."""

    name: str
    columns: tuple[str, ...]
    type: str
    """Spelled as in `type_full` of system.data_skipping_indices."""
    function: str = ""
    """The function of the columns that is indexed."""

    @property
    def expression(self) -> str:
        """What is indexed, spelled as `expr` in system.data_skipping_indices without quotes."""
        columns = ", ".join(self.columns)
        return f"{self.function}({columns})" if self.function else columns

    def sql(self) -> str:
        """Return the text after INDEX in CREATE TABLE and ADD INDEX."""
        columns = identifiers(self.columns)
        if self.function or len(self.columns) > 1:
            columns = f"{self.function}({columns})"
        return f"{identifier(self.name)} {columns} TYPE {self.type} GRANULARITY 1"


class Ttl(Struct, frozen=True, kw_only=True):
    """Expiry: rows go `days` after `column`; and, for a rollup target, the rule that compacts batches."""

    column: str
    days: int
    compaction: str = ""
    """A second rule, `… GROUP BY … SET …`."""

    @property
    def uncompacted(self) -> "Ttl":
        """This TTL without the second rule."""
        return replace(self, compaction="")

    def sql(self) -> str:
        """Return the text after TTL."""
        delete = f"toDateTime({identifier(self.column)}) + toIntervalDay({self.days})"
        return f"{delete},\n    {self.compaction}" if self.compaction else delete


class TableDefinition(Struct, frozen=True, kw_only=True):
    """One table of the MergeTree family."""

    name: str
    columns: tuple[ColumnDefinition, ...]
    indexes: tuple[IndexDefinition, ...] = ()
    engine: str
    version: str = ""
    """The engine's argument: the column whose largest value survives a collapse."""
    partition_column: str
    order_by: tuple[str, ...]
    ttl: Ttl
    settings: Mapping[str, int] = field(default_factory=dict)
    replicated: bool = False
    on_cluster: str = ""

    @property
    def engine_sql(self) -> str:
        """The engine with its arguments."""
        arguments = [identifier(self.version)] if self.version else []
        if self.replicated:
            # The server expands the braces, two of them from its macros.
            arguments = [literal("/clickhouse/tables/{shard}/{database}/{table}"), literal("{replica}"), *arguments]
        name = f"Replicated{self.engine}" if self.replicated else self.engine
        return f"{name}({', '.join(arguments)})" if arguments else name

    def alter(self, database: Database) -> str:
        """Return the head of a statement that alters the table."""
        return f"ALTER TABLE {placed(database, self.name, self.on_cluster)}"

    def create(self, database: Database, *, comment: str = "") -> str:
        """Return the CREATE TABLE statement; it does nothing where the name is taken."""
        parts = [column.sql() for column in self.columns]
        parts += [f"INDEX {index.sql()}" for index in self.indexes]
        settings = ", ".join(f"{name} = {value}" for name, value in self.settings.items())
        return (
            f"CREATE TABLE IF NOT EXISTS {placed(database, self.name, self.on_cluster)}\n(\n    "
            + ",\n    ".join(parts)
            + f"\n)\nENGINE = {self.engine_sql}\n"
            f"PARTITION BY {partition_by(self.partition_column)}\n"
            f"ORDER BY ({identifiers(self.order_by)})\n"
            f"TTL {self.ttl.sql()}\n"
            f"SETTINGS {settings}" + (f"\nCOMMENT {literal(comment)}" if comment else "")
        )


def shown_version(comment: str) -> int:
    """Return the version of the rollup that a live view shows, given its comment."""
    found = _SHOWN.fullmatch(comment)
    return int(found[1]) if found else 1


class ViewDefinition(Struct, frozen=True, kw_only=True):
    """A view, or, with a `target`, a materialized view that inserts into a table."""

    name: str
    select: str
    fingerprint: str
    """Identifies this definition on any server: the same for a qualified and a bare SELECT."""
    target: str | None = None
    on_cluster: str = ""
    version: int = 1
    """Of a view to read: the version of its rollup."""

    @property
    def comment(self) -> str:
        """The mark that identifies this definition on a live view."""
        shown = f" v{self.version}" if self.version > 1 else ""
        return f"{MARK} {hashlib.sha256(self.fingerprint.encode()).hexdigest()[:16]}{shown}"

    def create(self, database: Database, *, replace: bool = False) -> str:
        """Return the CREATE statement; unless `replace`, it does nothing where the name is taken."""
        name = placed(database, self.name, self.on_cluster)
        if self.target is not None:
            head = f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name} TO {qualified(database, self.target)}"
        elif replace:
            head = f"CREATE OR REPLACE VIEW {name}"
        else:
            head = f"CREATE VIEW IF NOT EXISTS {name}"
        return f"{head}\nAS {self.select}\nCOMMENT {literal(self.comment)}"

    def modify(self, database: Database) -> str:
        """Return the statement that gives a materialized view this definition, without a gap."""
        change = f"MODIFY COMMENT {literal(self.comment)}, MODIFY QUERY {self.select}"
        return f"ALTER TABLE {placed(database, self.name, self.on_cluster)} {change}"
