"""One installation over several servers: local tables on each server, and Distributed tables over them. Pure.

The local tables have a prefix of their own; the plain names are the Distributed tables, so that a reader sees all
shards. A rollup is stored beside its rows, and its view reads all targets.
"""

import hashlib

from msgspec import Struct

from spoolhouse.events.declaration import Column, Table
from spoolhouse.store.clickhouse.quoting import identifier, literal
from spoolhouse.store.clickhouse.schema.ddl import MARK, Database, TableDefinition, placed

_TRACES = ("trace_id", "run_id")
"""Columns that name an event's owner: its rows belong on one shard, for joins and for FINAL."""


class Cluster(Struct, frozen=True, kw_only=True):
    """A cluster, as `remote_servers` names it in each server's configuration."""

    name: str
    keeper: bool = True
    """It has ClickHouse Keeper: tables are replicated, and one statement changes all servers."""

    @property
    def on(self) -> str:
        """The cluster on which a statement runs; empty for one server."""
        return self.name if self.keeper else ""


class DistributedDefinition(Struct, frozen=True, kw_only=True):
    """A Distributed table over the local tables of all shards; it stores no rows."""

    name: str
    local: TableDefinition
    sharding_key: str
    cluster: Cluster

    @property
    def comment(self) -> str:
        """The mark that identifies this definition on a live table."""
        return f"{MARK} {hashlib.sha256(self._definition('').encode()).hexdigest()[:16]}"

    def create(self, database: Database, *, replace: bool = False) -> str:
        """Return the CREATE statement; unless `replace`, it does nothing where the name is taken."""
        head = "CREATE OR REPLACE TABLE" if replace else "CREATE TABLE IF NOT EXISTS"
        where = "currentDatabase()" if database is None else literal(database)
        name = placed(database, self.name, self.cluster.on)
        return f"{head} {name}\n{self._definition(where)}\nCOMMENT {literal(self.comment)}"

    def _definition(self, where: str) -> str:
        columns = ",\n    ".join(f"{identifier(column.name)} {column.type}" for column in self.local.columns)
        place = ", ".join((literal(self.cluster.name), where, literal(self.local.name), self.sharding_key))
        return f"(\n    {columns}\n)\nENGINE = Distributed({place})"


def sharding_key(table: Table) -> str:
    """Return the expression that selects an event's shard: its trace, else its own id.

    It is the same for each delivery of an event: deliveries collapse within a shard only.
    """
    own = identifier(table.order_by[-1])
    for name in _TRACES:
        for column in table.columns:
            if column.name == name:
                return f"cityHash64({_present(column, own)})"
    return f"cityHash64({own})"


def _present(column: Column, own: str) -> str:
    name = identifier(column.name)
    return f"ifNull({name}, {own})" if column.nullable else name
