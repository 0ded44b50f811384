"""A cluster with Keeper: for real where the tests' server is part of one, and what is said where it is not."""

import pytest

from spoolhouse.errors import OperatorError
from spoolhouse.events.builtin import LOGS
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.schema.cluster import Cluster
from spoolhouse.store.clickhouse.schema.migrate import Plan, migrate
from spoolhouse.store.clickhouse.schema.render import declare
from tests.engine import Config, Database, QueryError, Server, StartServer

NAMES = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND engine LIKE 'Replicated%'"


def cluster_of(server: Server) -> str | None:
    """Return a cluster that the server is part of, if it has Keeper and the macros."""
    try:
        server.query("SELECT name FROM system.zookeeper WHERE path = '/'")
    except QueryError:
        return None
    if server.query("SELECT count() FROM system.macros WHERE macro IN ('shard', 'replica')") != [(2,)]:
        return None
    found = server.query("SELECT cluster FROM system.clusters WHERE is_local ORDER BY cluster LIMIT 1")
    return str(found[0][0]) if found else None


async def test_tables_replicate_where_there_is_a_cluster_with_keeper(
    database: Database, start_server: StartServer
) -> None:
    cluster = cluster_of(database.server)
    server: Server = database.server
    if cluster is None:
        # One shard, which knows of itself, and no Keeper.
        alone = start_server()
        place = "remote_servers/lonely/shard/replica"
        alone.config = Config(server={f"{place}/host": "127.0.0.1", f"{place}/port": alone.endpoint.tcp_port})
        alone.restart()
        server = alone
    schema = declare(database=database.name, tables=(LOGS,), cluster=Cluster(name=cluster or "lonely"))
    driver = connect(server.native_url)
    try:
        if cluster is None:
            with pytest.raises(OperatorError) as refused:
                await migrate(schema, driver)
            assert "clickhouse.keeper = false" in refused.value.hint
            bare = declare(database=database.name, tables=(LOGS,), cluster=Cluster(name="lonely", keeper=False))
            assert await migrate(bare, driver) == Plan()
        else:
            assert await migrate(schema, driver) == Plan()
            assert database.query(NAMES) == [(2,)]
    finally:
        await driver.close()
