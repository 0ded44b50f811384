"""The rights that a user needs, derived from the declarations: for a person to grant, and to be checked. Pure.

Tables and views are named by their prefix: staging tables have names of their own, and later versions will too.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.schema.ddl import qualified
from spoolhouse.store.clickhouse.schema.render import Schema, holding_rows

_ROWS = ("SELECT", "INSERT")
_STAGING = ("CREATE TABLE", "DROP TABLE", "ALTER DELETE")
"""Needed even where the schema is not ours to change: a repair uses a table of its own."""
_SCHEMA = ("CREATE VIEW", "DROP VIEW", "ALTER TABLE")
_SYSTEM = (
    "tables", "columns", "parts", "settings", "merge_tree_settings", "data_skipping_indices", "mutations", "databases",
    "disks", "processes", "replicas", "replication_queue",
)  # fmt: skip
SAMPLE = "staging_0"
"""Stands for names that are made on demand."""


class Grant(Struct, frozen=True, kw_only=True):
    """Rights that are granted together."""

    rights: tuple[str, ...]
    where: str
    """The objects of the grant, as SQL."""
    lacking: str
    """The function that fails without them."""
    tried_on: tuple[str, ...]
    """The names to check the rights on: a server answers for single names only."""
    vital: bool = True
    """Without them something fails; else a server may not require them, or something is less safe."""

    def statement(self, user: str, rights: Iterable[str] = (), *, on_cluster: str = "") -> str:
        """Return the statement that grants these rights, or some of them."""
        everywhere = f"ON CLUSTER {identifier(on_cluster)} " if on_cluster else ""
        given = ", ".join(tuple(rights) or self.rights)
        return f"GRANT {everywhere}{given} ON {self.where} TO {identifier(user)}"


class Needs(Struct, frozen=True, kw_only=True):
    """The facts that decide which rights are needed."""

    schema: Schema
    prefix: str
    migrates: bool
    """The schema is migrated at the start."""
    cluster: bool = False
    """The tables are on a cluster, under Distributed tables."""
    several: bool = False
    """Several hosts are named, which hold replicas."""

    @property
    def database(self) -> str:
        """The name of the schema's database."""
        return self.schema.database or "default"

    def grants(self) -> Iterator[Grant]:
        """Yield all grants that are needed."""
        ours = f"{identifier(self.database)}.{identifier(self.prefix)}*" if self.prefix else self._whole
        names = [qualified(self.database, name) for name in holding_rows(self.schema)]
        sample = qualified(self.database, self.prefix + SAMPLE)
        if self.migrates:
            yield self._grant("CREATE DATABASE", on=self._whole, lacking="the database cannot be created")
        yield Grant(rights=_ROWS, where=ours, lacking="rows can be neither landed nor found", tried_on=(*names, sample))
        yield Grant(
            rights=_STAGING,
            where=ours,
            lacking="a batch that a crash has left incomplete cannot be completed, and its table is held",
            tried_on=(sample,),
        )
        if self.migrates:
            lacking = "the schema cannot be brought up to date"
            yield Grant(rights=_SCHEMA, where=ours, lacking=lacking, tried_on=(sample,))
        for engine in self._engines():
            yield self._grant("TABLE ENGINE", on=engine, lacking="tables cannot be created")
        lacking = "foreign views that count a repeated batch twice are not detected"
        yield self._grant("SHOW TABLES", "SHOW COLUMNS", on="*.*", lacking=lacking, vital=False)
        yield from self._of_several()
        for table in self.system_tables():
            yield self._grant("SELECT", on=f"system.{table}", lacking="the state of the server cannot be read")

    def _of_several(self) -> Iterator[Grant]:
        if self.several or self.schema.on_cluster:
            lacking = "the daemon cannot wait for the rows of another replica"
            yield self._grant("SYSTEM SYNC REPLICA", on=self._whole, lacking=lacking)
        if self.cluster:
            yield self._grant("REMOTE", on="*.*", lacking="other shards cannot be queried")
        if self.schema.on_cluster:
            yield self._grant("CLUSTER", on="*.*", lacking="the schema of all servers cannot be changed", vital=False)

    def system_tables(self) -> tuple[str, ...]:
        """Return the tables of the database `system` that are read."""
        keeper = ("macros", "zookeeper") if self.schema.on_cluster else ()
        return (*_SYSTEM, *(("clusters",) if self.cluster else ()), *keeper)

    @property
    def _whole(self) -> str:
        return f"{identifier(self.database)}.*"

    def _engines(self) -> list[str]:
        used = {"MergeTree", "ReplacingMergeTree"}  # a staging table, and the trial table of `spoolhouse check`
        if not self.migrates:
            return sorted(used)
        tables = [event.table for event in self.schema.tables]
        tables += [rollup.target for event in self.schema.tables for rollup in event.rollups]
        distributed = {"Distributed"} if any(event.distributed for event in self.schema.tables) else set()
        replicated = {f"Replicated{table.engine}" for table in tables if table.replicated}
        return sorted({table.engine for table in tables} | replicated | distributed | used)

    def _grant(self, *rights: str, on: str, lacking: str, vital: bool = True) -> Grant:
        return Grant(rights=rights, where=on, lacking=lacking, tried_on=(on,), vital=vital)


def block(needs: Needs, user: str) -> str:
    """Return the statements that make a user with the needed rights and no more."""
    cluster = needs.schema.on_cluster
    once = f" ON CLUSTER {identifier(cluster)}" if cluster else ""
    lines = ["-- The rights that Spoolhouse needs, and no more. Set a password, and run it as an administrator."]
    if not cluster and (needs.cluster or needs.several):
        lines.append("-- Run it on each server.")
    lines.append(f"CREATE USER IF NOT EXISTS {identifier(user)}{once} IDENTIFIED WITH sha256_password BY '<password>';")
    lines += [f"{grant.statement(user, on_cluster=cluster)};" for grant in merged(needs.grants())]
    return "\n".join(lines) + "\n"


def merged(grants: Iterable[Grant]) -> list[Grant]:
    """Return the grants with one statement for each object."""
    found: dict[str, Grant] = {}
    for grant in grants:
        past = found.get(grant.where)
        rights = grant.rights if past is None else (*past.rights, *grant.rights)
        found[grant.where] = replace(grant, rights=tuple(dict.fromkeys(rights)))
    return list(found.values())
