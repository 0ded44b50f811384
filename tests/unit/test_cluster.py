"""The schema of a cluster: every statement as it is sent, for one with Keeper and one without."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from spoolhouse.events.builtin import LOGS, METRICS, SPANS, TRACES
from spoolhouse.events.declaration import Table
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.store.clickhouse.schema.backfill_sql import MissingRows
from spoolhouse.store.clickhouse.schema.cluster import Cluster, sharding_key
from spoolhouse.store.clickhouse.schema.introspect import LiveDatabase, LiveTable
from spoolhouse.store.clickhouse.schema.plan import plan
from spoolhouse.store.clickhouse.schema.render import Schema, declare, object_names, script, statements

GOLDEN = Path(__file__).parent / "golden"
KEEPER = Cluster(name="main")
BARE = Cluster(name="main", keeper=False)


def schema(cluster: Cluster, *tables: Table) -> Schema:
    return declare(database="d", prefix="p_", tables=tables or (TRACES, LOGS), cluster=cluster)


@pytest.mark.parametrize(("cluster", "golden"), [(KEEPER, "cluster_keeper.sql"), (BARE, "cluster_bare.sql")])
def test_every_statement_that_creates_a_cluster(cluster: Cluster, golden: str) -> None:
    """To renew one, write what is compared here into it."""
    assert script(schema(cluster)) == (GOLDEN / golden).read_text()


@pytest.mark.parametrize("cluster", [KEEPER, BARE])
def test_a_plan_from_nothing_is_the_script(cluster: Cluster) -> None:
    declared = schema(cluster)
    assert plan(declared, LiveDatabase(exists=False, tables={})).statements == statements(declared)


def test_every_statement_that_changes_a_cluster() -> None:
    """A table of an older version, a view and a front of another definition, a feed that is gone."""
    newer = replace(LOGS, rollups=(replace(LOGS.rollups[0], version=2),))
    declared = schema(KEEPER, newer)
    (event,) = declared.tables
    live = {name: LiveTable(engine="View") for name in object_names(declared)}
    engine = "ReplicatedReplacingMergeTree('/x/{shard}', '{replica}', recorded_at)"
    live[event.table.name] = LiveTable(
        engine="ReplicatedReplacingMergeTree",
        engine_full=f"{engine} TTL toDateTime(timestamp) + toIntervalDay(3) SETTINGS index_granularity = 8192",
        partition_key="toYYYYMM(timestamp)",
        sorting_key=", ".join(event.table.order_by),
        columns={column.name: column.type for column in event.table.columns[1:]},
        codecs={column.name: "CODEC(LZ4)" for column in event.table.columns[2:]},
        rows=5,
    )
    for front in event.distributed:
        live[front.name] = LiveTable(engine="Distributed")
    live["p_local_logs_hourly_feed"] = LiveTable(engine="MaterializedView", comment="spoolhouse 1")
    del live["p_local_logs_hourly_v2"], live["p_local_logs_hourly_v2_feed"]
    found = plan(declared, LiveDatabase(exists=True, tables=live))
    assert not found.refusals
    text = "".join(f"-- {change.name}: {change.what}\n{change.statement};\n\n" for change in found.changes)
    assert text == (GOLDEN / "cluster_changes.sql").read_text()


def test_a_replica_that_learns_of_a_filling_speaks_for_itself_alone() -> None:
    """The targets of other shards have the same mark, and are filled by themselves."""
    declared = schema(KEEPER, LOGS)
    target = declared.tables[0].rollups[0].target
    live = LiveTable(
        engine="ReplicatedAggregatingMergeTree",
        engine_full=f"ReplicatedAggregatingMergeTree TTL {target.ttl.sql()} SETTINGS index_granularity = 1".replace(
            "`", ""
        ),
        partition_key="toYYYYMM(hour)",
        sorting_key=", ".join(target.order_by),
        comment=MissingRows.ALL,
        columns={column.name: column.type for column in target.columns},
    )
    changes = plan(declared, LiveDatabase(exists=True, tables={target.name: live})).changes
    (forget,) = (change for change in changes if change.what.startswith("~ complete"))
    assert forget.statement == "ALTER TABLE `d`.`p_local_logs_hourly` MODIFY COMMENT ''"


def test_a_table_that_does_not_replicate_is_refused_where_keeper_is() -> None:
    declared = schema(KEEPER, LOGS)
    table = declared.tables[0].table
    live = LiveTable(
        engine="ReplacingMergeTree",
        engine_full="ReplacingMergeTree(recorded_at)",
        partition_key="toYYYYMM(timestamp)",
        sorting_key=", ".join(table.order_by),
    )
    (refusal,) = plan(declared, LiveDatabase(exists=True, tables={table.name: live})).refusals
    assert refusal.reason == "replication is 'none', declared 'by Keeper'"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (TRACES, "cityHash64(`trace_id`)"),
        (SPANS, "cityHash64(`trace_id`)"),
        (LOGS, "cityHash64(ifNull(`trace_id`, `id`))"),
        (METRICS, "cityHash64(`id`)"),
    ],
)
def test_a_trace_is_on_one_shard(table: Table, key: str) -> None:
    assert sharding_key(table) == key


def test_inserts_go_to_the_own_shard_or_through_the_front() -> None:
    assert ClickHouseSettings(table_prefix="p_").insert_prefix == "p_"
    assert ClickHouseSettings(table_prefix="p_", cluster="main").insert_prefix == "p_local_"
    assert ClickHouseSettings(table_prefix="p_", cluster="main", distributed_inserts=True).insert_prefix == "p_"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"cluster": "main", "url": "chdb:///x"}, "chdb"),
        ({"cluster": " "}, "system.clusters"),
    ],
)
def test_what_fits_no_cluster_is_refused(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ClickHouseSettings.model_validate(settings)
