"""Our tables as replicas on two servers, whose Keeper knows no `ON CLUSTER`: each server is told by itself."""

import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from spoolhouse.events.builtin import BUILT_IN, SPANS
from spoolhouse.events.naming import target_name
from spoolhouse.store.clickhouse.schema.cluster import Cluster
from spoolhouse.store.clickhouse.schema.render import declare, statements, tables_of
from tests.engine import LocalServer
from tests.process.daemon import Daemon

CLUSTER = "pair"
"""The servers' cluster: one shard."""
_ON_CLUSTER = f" ON CLUSTER `{CLUSTER}`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two servers with a database of the same name."""

    servers: tuple[LocalServer, LocalServer]
    database: str
    local: str
    """What the names of the tables begin with that hold rows."""

    @property
    def native_url(self) -> str:
        """Both hosts."""
        return f"clickhouse://{','.join(self.names)}/{self.database}"

    @property
    def http_url(self) -> str:
        """Both hosts."""
        ports = (server.endpoint.http_port for server in self.servers)
        return f"http://{','.join(f'127.0.0.1:{port}' for port in ports)}/{self.database}"

    @property
    def names(self) -> Sequence[str]:
        """What the daemon calls the servers."""
        return [f"127.0.0.1:{server.endpoint.tcp_port}" for server in self.servers]

    def tell(self, server: LocalServer, verb: str) -> None:
        """Stop or start what brings parts from the other server."""
        for table in ("spans", *(target_name(rollup, prefix="") for rollup in SPANS.rollups)):
            server.query(f"SYSTEM {verb} FETCHES {self.database}.{self.local}{table}")

    def landed(self, server: LocalServer, project: str, *, synced: bool = True) -> tuple[int, int, int]:
        """Return how many spans of a project a server has, how many different ones, and how many its rollup counts."""
        spans, rollup = f"{self.database}.{self.local}spans", f"{self.database}.{self.local}spans_hourly"
        if synced:
            server.query(f"SYSTEM SYNC REPLICA {spans} LIGHTWEIGHT")
            server.query(f"SYSTEM SYNC REPLICA {rollup} LIGHTWEIGHT")
        [(rows, ids)] = server.query(f"SELECT count(), uniqExact(span_id) FROM {spans} WHERE project_id = '{project}'")
        [(counted,)] = server.query(f"SELECT sum(lines) FROM {rollup} WHERE project_id = '{project}'")
        return rows, ids, counted


@contextmanager
def pair_of(servers: tuple[LocalServer, LocalServer], *, cluster: bool) -> Iterator[Pair]:
    """Make the tables on both: of a cluster with Keeper, or plain ones that somebody has made to replicate."""
    database = f"test_{uuid.uuid4().hex}"
    within = Cluster(name=CLUSTER) if cluster else None
    schema = declare(database=database, tables=tables_of(BUILT_IN), cluster=within)
    for server in servers:
        for statement in statements(schema):
            server.query(_replicated(statement.replace(_ON_CLUSTER, "")))
    try:
        yield Pair(servers=servers, database=database, local="mastra_admin_local_" if cluster else "mastra_admin_")
    finally:
        for server in servers:
            if not server.is_running:
                server.start()
            server.query(f"DROP DATABASE {database} SYNC")


def _replicated(statement: str) -> str:
    path = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
    statement = re.sub(
        r"ENGINE = ((?:Replacing|Aggregating)MergeTree)\((.+)\)", rf"ENGINE = Replicated\1({path}, \2)", statement
    )
    return re.sub(r"ENGINE = ((?:Replacing|Aggregating)MergeTree)\n", rf"ENGINE = Replicated\1({path})\n", statement)


def settled(daemon: Daemon, count: int) -> None:
    """Wait until that many files are settled."""
    daemon.wait_for("file_settled", count=count)
