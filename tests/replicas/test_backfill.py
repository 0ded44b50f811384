"""A rollup is filled on one replica while rows go into the other."""

import asyncio
import uuid

from spoolhouse.store.clickhouse.schema import backfill, backfill_sql
from spoolhouse.store.clickhouse.schema.migration_progress import NoProgress
from spoolhouse.store.clickhouse.schema.rollups import rollup_definition
from spoolhouse.store.clickhouse.schema.tables import Storage, table_definition
from tests.engine import LocalServer
from tests.faults.life import wait_until
from tests.store.test_backfill import HOURLY, Overtaken, Sender, connected, logs_with


async def test_figures_that_come_later_than_their_rows_are_awaited(
    replicas: tuple[LocalServer, LocalServer],
) -> None:
    """One replica is filled while rows are inserted into the other one."""
    filled, fed = replicas
    table, name = logs_with(HOURLY), f"replicated_{uuid.uuid4().hex}"
    storage = Storage(replicated=True)
    definition = rollup_definition(table, HOURLY, database=name, prefix="", storage=storage)
    fill = backfill_sql.backfill_statements(definition, backfill_sql.MissingRows.ALL, name)
    for server in replicas:
        server.query(f"CREATE DATABASE {name}")
        server.query(table_definition(table, prefix="", storage=storage).create(name))
    async with connected(fed.endpoint.url("clickhouse", name)) as inserting, connected(filled.native_url) as driver:
        sender = Sender(driver=inserting)
        await sender.send(["info"])
        wait_until(lambda: filled.query(f"SELECT count() FROM {name}.logs") == [(1,)])
        for server in replicas:
            server.query(definition.target.create(name, comment=backfill_sql.MissingRows.ALL))
            server.query(definition.materialized_view.create(name))

        async def insert() -> None:
            filled.query(f"SYSTEM STOP FETCHES {name}.logs_hourly")
            await sender.send(["info", "error"])
            filled.query(f"SYSTEM SYNC REPLICA {name}.logs LIGHTWEIGHT")

        async def fetch() -> None:
            waiting = f"SELECT 1 FROM system.processes WHERE query LIKE '%SYNC%{name}%' AND query_id != queryID()"
            while not counted.is_set() and not filled.query(waiting):  # noqa: ASYNC110  # a server tells nobody
                await asyncio.sleep(0.01)
            filled.query(f"SYSTEM START FETCHES {name}.logs_hourly")

        async def listed() -> None:
            group.create_task(fetch())

        counted = asyncio.Event()
        inner = Overtaken(driver=driver, after=fill.left, overtake=insert)
        outer = Overtaken(driver=inner, after=fill.missing, overtake=listed)
        async with asyncio.TaskGroup() as group:
            await backfill.Backfill(fill, outer, NoProgress()).run()
            counted.set()
    for server in replicas:
        server.query(f"SYSTEM SYNC REPLICA {name}.logs_hourly LIGHTWEIGHT")
    by_batch = f"SELECT batch_id, sum(lines) FROM {name}.logs_hourly GROUP BY batch_id ORDER BY 2"
    figures = [server.query(by_batch) for server in replicas]
    assert [[lines for _, lines in rows] for rows in figures] == [[1, 2], [1, 2]], figures
    for server in replicas:
        server.query(f"DROP DATABASE {name} SYNC")
