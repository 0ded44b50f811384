"""Definitions of ClickHouse objects as values, and their statements.

The one place where names and literals are written into SQL. Everything here comes from declarations and settings, never
from an event.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from spoolhouse.store.clickhouse.quoting import identifier, identifiers, literal

Database = str | None
"""The database that qualifies a name; None leaves names unqualified, for a script to be run anywhere."""

MARK = "spoolhouse"
"""Views carry `{MARK} {fingerprint}` as their comment, which is how a changed definition is noticed."""


def qualified(database: Database, name: str) -> str:
    """Return the quoted name of a table or view, with its database where one is given."""
    return identifier(name) if database is None else f"{identifier(database)}.{identifier(name)}"


def partition_by(column: str) -> str:
    """Return the partition key of a table with that time column: months."""
    return f"toYYYYMM({identifier(column)})"


def placed(database: Database, name: str, on_cluster: str) -> str:
    """Return a name as it stands in a statement that changes something: with the cluster on which that is done."""
    return qualified(database, name) + (f" ON CLUSTER {identifier(on_cluster)}" if on_cluster else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDefinition:
    """One column. `type` is written exactly as system.columns spells it: drift is told by comparing the two."""

    name: str
    type: str
    default: str = ""
    """The SQL of what a row has that was written without the column; empty: the type's own default."""
    codec: str = ""

    def sql(self) -> str:
        """Return the column as it stands in CREATE TABLE and ADD COLUMN."""
        default = f" DEFAULT {self.default}" if self.default else ""
        codec = f" CODEC({self.codec})" if self.codec else ""
        return f"{identifier(self.name)} {self.type}{default}{codec}"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexDefinition:
    """One data skipping index."""

    name: str
    columns: tuple[str, ...]
    type: str
    """As system.data_skipping_indices spells it in `type_full`."""

    def sql(self) -> str:
        """Return the index as it stands after INDEX in CREATE TABLE and ADD INDEX."""
        expression = identifiers(self.columns) if len(self.columns) == 1 else f"({identifiers(self.columns)})"
        return f"{identifier(self.name)} {expression} TYPE {self.type} GRANULARITY 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ttl:
    """When rows go: `days` after `column`; and, for a rollup target, when batches are folded together."""

    column: str
    days: int
    fold: str = ""
    """A second rule, `… GROUP BY … SET …`."""

    @property
    def unfolded(self) -> "Ttl":
        """The same without the second rule."""
        return replace(self, fold="")

    def sql(self) -> str:
        """Return what follows TTL."""
        delete = f"toDateTime({identifier(self.column)}) + toIntervalDay({self.days})"
        return f"{delete},\n    {self.fold}" if self.fold else delete


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDefinition:
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
            # The server fills the braces in: two of them from its macros.
            arguments = [literal("/clickhouse/tables/{shard}/{database}/{table}"), literal("{replica}"), *arguments]
        name = f"Replicated{self.engine}" if self.replicated else self.engine
        return f"{name}({', '.join(arguments)})" if arguments else name

    def alter(self, database: Database) -> str:
        """Return what a change of the table begins with."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewDefinition:
    """A view to read, or, with a `target`, a materialized view that feeds a table."""

    name: str
    select: str
    fingerprint: str
    """What tells this definition from any other, wherever it lives: the same for a qualified and a bare SELECT."""
    target: str | None = None
    on_cluster: str = ""

    @property
    def comment(self) -> str:
        """The mark by which a live view is known to have this very definition."""
        return f"{MARK} {hashlib.sha256(self.fingerprint.encode()).hexdigest()[:16]}"

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
