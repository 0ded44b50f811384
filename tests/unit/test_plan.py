"""The plan from a live schema to the declared one: what is added, what is refused, what is left alone."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from spoolhouse.events.builtin import BUILT_IN, LOGS, METRICS, TRACES
from spoolhouse.store.clickhouse.schema import server_ddl
from spoolhouse.store.clickhouse.schema.backfill_sql import MissingRows
from spoolhouse.store.clickhouse.schema.ddl import TableDefinition, ViewDefinition
from spoolhouse.store.clickhouse.schema.introspect import LiveDatabase, LiveIndex, LiveTable
from spoolhouse.store.clickhouse.schema.migrate import Plan, plan
from spoolhouse.store.clickhouse.schema.render import Schema, declare, statements, tables_of

TABLES = tables_of(BUILT_IN)

SCHEMA = declare(database="d", prefix="", tables=TABLES)
ENUM = "Enum8('a' = 1, 'b, c' = 2)"


def _live_table(table: TableDefinition) -> LiveTable:
    engine = f"{table.engine}({table.version})" if table.version else table.engine
    settings = ", ".join(f"{name} = {value}" for name, value in table.settings.items())
    return LiveTable(
        engine=table.engine,
        engine_full=(
            f"{engine} PARTITION BY toYYYYMM({table.partition_column}) ORDER BY ({', '.join(table.order_by)}) "
            f"TTL {table.ttl.sql()} SETTINGS {settings}"
        ).replace("`", ""),
        partition_key=f"toYYYYMM({table.partition_column})",
        sorting_key=", ".join(table.order_by),
        columns={column.name: column.type for column in table.columns},
        codecs={column.name: f"CODEC({column.codec})" for column in table.columns if column.codec},
        indexes={
            index.name: LiveIndex(expression=", ".join(index.columns), type=index.type) for index in table.indexes
        },
    )


def _live_view(view: ViewDefinition) -> LiveTable:
    return LiveTable(engine="View" if view.target is None else "MaterializedView", comment=view.comment)


def _as_declared(schema: Schema) -> dict[str, LiveTable]:
    """Return the live tables of a database that is up to date, spelt as a server spells them."""
    tables: dict[str, LiveTable] = {}
    for event in schema.tables:
        tables[event.table.name] = _live_table(event.table)
        for rollup in event.rollups:
            tables[rollup.target.name] = _live_table(rollup.target)
            tables[rollup.materialized_view.name] = _live_view(rollup.materialized_view)
            tables[rollup.view.name] = _live_view(rollup.view)
    return tables


LIVE = _as_declared(SCHEMA)


def _plan(tables: Mapping[str, LiveTable], schema: Schema = SCHEMA) -> Plan:
    return plan(schema, LiveDatabase(exists=True, tables=tables))


def _changed(name: str, **fields: object) -> Plan:
    return _plan({**LIVE, name: structs.replace(LIVE[name], **fields)})


def _without(mapping: Mapping[str, object], key: str) -> dict[str, object]:
    return {name: value for name, value in mapping.items() if name != key}


def test_nothing_to_do() -> None:
    assert _plan(LIVE) == Plan()
    assert _plan(LIVE).empty


def test_a_new_database_gets_everything_in_order() -> None:
    assert plan(SCHEMA, LiveDatabase(exists=False, tables={})).statements == statements(SCHEMA)
    assert _plan({}).statements == statements(SCHEMA)[1:]


@given(st.sets(st.sampled_from(sorted(LIVE))))
def test_what_is_missing_is_created_and_nothing_else(missing: set[str]) -> None:
    result = _plan({name: table for name, table in LIVE.items() if name not in missing})
    created = [statement for statement in result.statements if statement.startswith("CREATE")]
    assert len(created) == len(missing)
    for name in missing:
        assert sum(statement.split("\n")[0].split(" TO ")[0].endswith(f"`d`.`{name}`") for statement in created)
    assert not result.refusals
    # A target that comes after its table has rows to count, whoever has inserted them.
    late = {
        rollup.target.name
        for event in SCHEMA.tables
        for rollup in event.rollups
        if rollup.target.name in missing and event.table.name not in missing
    }
    assert set(result.unfilled) == late
    assert len(result.statements) == len(missing) + 2 * len(late)


@given(st.data())
def test_missing_columns_are_added(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name in sorted(LIVE) if LIVE[name].columns]))
    columns = LIVE[name].columns
    dropped = data.draw(st.sets(st.sampled_from(sorted(columns)), min_size=1))
    left = {column: kind for column, kind in columns.items() if column not in dropped} | {"of_somebody": "UInt8"}
    result = _changed(name, columns=left)
    assert not result.refusals
    assert {statement.split("`")[5] for statement in result.statements} == dropped
    assert all(
        statement.startswith(f"ALTER TABLE `d`.`{name}` ADD COLUMN IF NOT EXISTS `") for statement in result.statements
    )


def test_a_missing_index_is_added() -> None:
    index = "`idx_trace_id` `trace_id` TYPE bloom_filter(0.001) GRANULARITY 1"
    result = _changed("traces", indexes=_without(LIVE["traces"].indexes, "idx_trace_id"))
    assert result.statements == (f"ALTER TABLE `d`.`traces` ADD INDEX IF NOT EXISTS {index}",)


def test_an_index_is_made_for_old_rows_too() -> None:
    missing = _changed("traces", rows=9, indexes=_without(LIVE["traces"].indexes, "idx_trace_id"))
    assert missing.statements[0].endswith(" GRANULARITY 1, MATERIALIZE INDEX `idx_trace_id`")
    found = structs.replace(LIVE["traces"].indexes["idx_trace_id"], stored=False)
    indexes = {**LIVE["traces"].indexes, "idx_trace_id": found}
    assert _changed("traces", rows=9, indexes=indexes).statements == (
        "ALTER TABLE `d`.`traces` MATERIALIZE INDEX `idx_trace_id`",
    )
    assert _changed("traces", rows=0, indexes=indexes).empty


def test_a_missing_codec_is_added_and_another_one_left_alone() -> None:
    codecs = LIVE["traces"].codecs
    assert _changed("traces", codecs={name: codec for name, codec in codecs.items() if name != "input"}).statements == (
        "ALTER TABLE `d`.`traces` MODIFY COLUMN `input` CODEC(ZSTD(1))",
    )
    assert _changed("traces", codecs={**codecs, "input": "CODEC(LZ4)"}).empty


def test_a_feed_that_was_away_has_recent_rows_counted_before_the_target_is_folded_again() -> None:
    live = {**LIVE, "logs": structs.replace(LIVE["logs"], rows=7)}
    del live["logs_hourly_feed"]
    waiting, feed, fill, whole = _plan(live).statements
    assert waiting.startswith(
        f"ALTER TABLE `d`.`logs_hourly` MODIFY COMMENT '{MissingRows.RECENT}', MODIFY TTL toDateTime("
    )
    assert "GROUP BY" not in waiting
    assert feed.startswith("CREATE MATERIALIZED VIEW")
    assert "`ingested_at` > now() - toIntervalDay(29)" in fill
    assert whole.startswith("ALTER TABLE `d`.`logs_hourly` MODIFY COMMENT '', MODIFY TTL toDateTime(")
    assert "GROUP BY" in whole


def test_a_filling_that_was_interrupted_goes_on() -> None:
    (declared,) = (rollup.target for event in SCHEMA.tables for rollup in event.rollups if "logs" in event.table.name)
    target = _live_table(structs.replace(declared, ttl=declared.ttl.uncompacted))
    result = _plan({**LIVE, "logs_hourly": structs.replace(target, comment=MissingRows.ALL)})
    assert result.unfilled == ("logs_hourly",)
    assert [change.what[0] for change in result.changes] == ["~", "~"]
    assert "ingested_at` >" not in result.statements[0]


def test_a_target_that_another_replica_has_filled_is_not_filled_again() -> None:
    """Replicas share their TTL, and not their comments."""
    result = _changed("logs_hourly", comment=MissingRows.ALL)
    assert not result.unfilled
    assert result.statements == ("ALTER TABLE `d`.`logs_hourly` MODIFY COMMENT ''",)


def test_another_version_of_a_rollup_is_built_beside_the_old_one() -> None:
    newer = replace(LOGS, rollups=(replace(LOGS.rollups[0], version=3, keys=("project_id",)),))
    second = structs.replace(LIVE["logs_hourly_feed"], comment="spoolhouse 2")
    result = _plan({**LIVE, "logs_hourly_v2_feed": second}, declare(database="d", prefix="", tables=(newer,)))
    assert not result.refusals
    assert [(change.name, change.what) for change in result.changes] == [
        ("logs_hourly_v3", "+ table"),
        ("logs_hourly_v3_feed", "+ materialized view into logs_hourly_v3"),
        ("logs_hourly_v3", "~ rows of logs that it has not counted yet"),
        ("logs_hourly_v3", "~ complete: batches are compacted once they are old"),
        ("logs_hourly_stats", "~ view, another definition"),
        ("logs_hourly_feed", "- materialized view of an earlier version; its target stays"),
        ("logs_hourly_v2_feed", "- materialized view of an earlier version; its target stays"),
    ]


def test_other_keys_of_a_rollup_are_refused_until_it_has_another_version() -> None:
    newer = replace(LOGS, rollups=(replace(LOGS.rollups[0], keys=("project_id",)),))
    result = _plan(LIVE, declare(database="d", prefix="", tables=(newer,)))
    (refusal,) = result.refusals
    assert refusal.name == "logs_hourly"
    assert "`version`" in refusal.hint
    assert not result.statements


def test_a_feed_of_somebody_else_under_the_name_of_an_earlier_version_stays() -> None:
    newer = replace(LOGS, rollups=(replace(LOGS.rollups[0], version=2),))
    theirs = structs.replace(LIVE["logs_hourly_feed"], comment="mine")
    result = _plan({**LIVE, "logs_hourly_feed": theirs}, declare(database="d", prefix="", tables=(newer,)))
    assert not [change for change in result.changes if change.what.startswith("-")]


def test_another_index_of_the_same_name_is_refused() -> None:
    indexes = {**LIVE["traces"].indexes, "idx_trace_id": LiveIndex(expression="name", type="minmax")}
    (refusal,) = _changed("traces", indexes=indexes).refusals
    assert refusal.reason == "index idx_trace_id is minmax of name, declared bloom_filter(0.001) of trace_id"
    assert refusal.statement == "ALTER TABLE `d`.`traces` DROP INDEX `idx_trace_id`"


def test_a_changed_type_is_refused() -> None:
    result = _changed("traces", columns={**LIVE["traces"].columns, "duration_ms": "Nullable(UInt32)"})
    assert not result.statements
    (refusal,) = result.refusals
    assert refusal.reason == "column duration_ms is Nullable(UInt32), declared Nullable(Float64)"
    assert refusal.statement == "ALTER TABLE `d`.`traces` MODIFY COLUMN `duration_ms` Nullable(Float64)"
    assert not refusal.blocking
    assert str(refusal) == f"traces: {refusal.reason}"


def test_an_enum_learns_new_values_and_keeps_those_that_it_knows_beyond_ours() -> None:
    columns = LIVE["logs"].columns
    poorer = _changed("logs", columns={**columns, "level": "Enum8('debug' = 0, 'info' = 1)"})
    assert poorer.statements == (f"ALTER TABLE `d`.`logs` MODIFY COLUMN `level` {columns['level']}",)
    richer = _changed("logs", columns={**columns, "level": columns["level"].replace(")", ", 'loud' = 9)")})
    assert richer.empty
    renumbered = _changed("logs", columns={**columns, "level": columns["level"].replace("= 4", "= 5")})
    assert not renumbered.statements
    assert len(renumbered.refusals) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"engine": "MergeTree", "engine_full": "MergeTree ORDER BY id"}, "engine is 'MergeTree', declared"),
        (
            {"engine_full": LIVE["traces"].engine_full.replace("recorded_at", "ingested_at")},
            "engine is 'ReplacingMergeTree(ingested_at)', declared 'ReplacingMergeTree(recorded_at)'",
        ),
        ({"sorting_key": "project_id, trace_id"}, "sorting key is 'project_id, trace_id', declared"),
        ({"partition_key": "toYYYYMMDD(start_time)"}, "partition key is 'toYYYYMMDD(start_time)', declared"),
    ],
)
def test_another_shape_is_refused_and_nothing_is_hung_on_it(fields: dict[str, str], reason: str) -> None:
    live = {"traces": structs.replace(LIVE["traces"], columns={}, indexes={}, **fields)}
    result = _plan(live, declare(database="d", prefix="", tables=(TRACES,)))
    assert not result.statements
    (refusal,) = result.refusals
    assert refusal.blocking
    assert refusal.reason.startswith(reason)
    assert refusal.statement == "RENAME TABLE `d`.`traces` TO `d`.`traces_old`"


def test_a_target_of_another_shape_holds_up_only_its_own_rollup() -> None:
    schema = declare(database="d", prefix="", tables=(TRACES,))
    result = _plan({"traces_hourly": LiveTable(engine="Log", engine_full="Log")}, schema)
    assert result.statements == (schema.tables[0].table.create("d"),)
    assert [refusal.name for refusal in result.refusals] == ["traces_hourly"]


@pytest.mark.parametrize("name", ["traces_hourly_stats", "traces_hourly_feed"])
def test_a_table_in_the_place_of_a_view_is_not_replaced(name: str) -> None:
    result = _plan({**LIVE, name: LiveTable(engine="MergeTree")})
    assert not result.statements
    assert [(refusal.name, refusal.blocking) for refusal in result.refusals] == [(name, True)]


def test_a_materialized_view_in_the_place_of_a_readable_one_is_not_replaced() -> None:
    """This is what a database has that the first version of the schema was applied to."""
    result = _changed("traces_hourly_stats", engine="MaterializedView")
    assert not result.statements
    assert result.refusals[0].statement == "RENAME TABLE `d`.`traces_hourly_stats` TO `d`.`traces_hourly_stats_old`"


def test_another_readable_view_is_replaced() -> None:
    (statement,) = _changed("traces_hourly_stats", comment="").statements
    assert statement.startswith("CREATE OR REPLACE VIEW `d`.`traces_hourly_stats`\nAS SELECT")


def test_another_feed_is_refused() -> None:
    result = _changed("traces_hourly_feed", comment="spoolhouse 0")
    assert not result.statements
    assert result.refusals[0].statement.startswith("ALTER TABLE `d`.`traces_hourly_feed` MODIFY COMMENT 'spoolhouse ")


@pytest.mark.parametrize("name", ["traces", "traces_hourly"])
@pytest.mark.parametrize("window", ["", ", non_replicated_deduplication_window = 100"])
def test_a_lost_window_is_set_again(name: str, window: str) -> None:
    full = LIVE[name].engine_full.replace(", non_replicated_deduplication_window = 10000", window)
    assert _changed(name, engine_full=full).statements == (
        f"ALTER TABLE `d`.`{name}` MODIFY SETTING non_replicated_deduplication_window = 10000",
    )


def test_a_longer_window_is_left_alone() -> None:
    full = LIVE["traces"].engine_full.replace("window = 10000", "window = 20000")
    assert _changed("traces", engine_full=full).empty


def test_a_replicated_table_is_as_good() -> None:
    full = LIVE["traces"].engine_full.replace(
        "ReplacingMergeTree(", "ReplicatedReplacingMergeTree('/tables/{shard}/it''s (1)', '{replica}', "
    )
    full = full.replace(", non_replicated_deduplication_window = 10000", "")
    assert _changed("traces", engine="ReplicatedReplacingMergeTree", engine_full=full).empty


@pytest.mark.parametrize("name", ["traces", "traces_hourly"])
def test_a_shorter_ttl_is_lengthened(name: str) -> None:
    days = 730 if "hourly" in name else 90
    full = LIVE[name].engine_full.replace(f"toIntervalDay({days})", "toIntervalDay(1)")
    (statement,) = _changed(name, engine_full=full).statements
    assert statement.startswith(f"ALTER TABLE `d`.`{name}` MODIFY TTL toDateTime(")
    assert f"toIntervalDay({days})" in statement


def test_a_fold_that_forgets_a_figure_is_fixed() -> None:
    full = LIVE["traces_hourly"].engine_full.replace("lines = sum(lines),", "")
    (statement,) = _changed("traces_hourly", engine_full=full).statements
    assert "MODIFY TTL" in statement
    assert "`lines` = sum(`lines`)" in statement


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("toIntervalDay(90)", "toIntervalDay(91)"),
        ("toDateTime(start_time)", "toDateTime(end_time)"),
        ("TTL toDateTime(start_time) + toIntervalDay(90) ", ""),
        ("toDateTime(start_time) + toIntervalDay(90)", "start_time + toIntervalMonth(9) WHERE name = ' SETTINGS '"),
        ("toIntervalDay(90)", "toIntervalDay(9) RECOMPRESS CODEC(ZSTD(9))"),
    ],
)
def test_a_ttl_that_keeps_rows_longer_or_otherwise_is_not_taken_away(old: str, new: str) -> None:
    full = LIVE["traces"].engine_full
    assert old in full
    result = _changed("traces", engine_full=full.replace(old, new))
    assert not result.statements
    assert "MODIFY TTL" in result.refusals[0].statement


def test_a_rollup_that_grows_a_figure_gets_it_before_the_fold_names_it() -> None:
    measure = METRICS.rollups[0].measure
    assert measure is not None
    smaller = replace(METRICS, rollups=(replace(METRICS.rollups[0], measure=replace(measure, quantiles=False)),))
    live = _as_declared(declare(database="d", prefix="", tables=(smaller,)))
    result = _plan(live, declare(database="d", prefix="", tables=(METRICS,)))
    starts = [statement.split("`value_quantiles`")[0].strip() for statement in result.statements]
    assert starts[0] == "ALTER TABLE `d`.`metrics_hourly` ADD COLUMN IF NOT EXISTS"
    assert starts[1].startswith("ALTER TABLE `d`.`metrics_hourly` MODIFY TTL")
    assert starts[2].startswith("CREATE OR REPLACE VIEW")
    assert [refusal.name for refusal in result.refusals] == ["metrics_hourly_feed"]


def test_a_view_is_made_anew_when_the_types_that_it_shows_grow() -> None:
    poorer = replace(
        LOGS,
        columns=tuple(
            replace(column, choices={"debug": 0, "info": 1}) if column.name == "level" else column
            for column in LOGS.columns
        ),
    )
    live = _as_declared(declare(database="d", prefix="", tables=(poorer,)))
    result = _plan(live, declare(database="d", prefix="", tables=(LOGS,)))
    assert [statement.split("`")[0].strip() for statement in result.statements] == [
        "ALTER TABLE",
        "ALTER TABLE",
        "CREATE OR REPLACE VIEW",
    ]
    assert not result.refusals


@pytest.mark.parametrize(
    ("kind", "base", "extends"),
    [
        (ENUM, ENUM, True),
        ("Enum8('a' = 1, 'b, c' = 2, 'd' = 3)", ENUM, True),
        (f"Nullable({ENUM})", ENUM, False),
        (f"Nullable({ENUM})", f"Nullable({ENUM})", True),
        ("Enum8('a' = 1)", ENUM, False),
        ("Enum16('a' = 1, 'b, c' = 2)", ENUM, False),
        ("String", ENUM, False),
        (ENUM, "String", False),
    ],
)
def test_enum_extends(kind: str, base: str, *, extends: bool) -> None:
    assert server_ddl.enum_extends(kind, base) is extends


def test_a_server_without_text_indexes_goes_without_them() -> None:
    schema = declare(database="d", text_index=True, tables=(LOGS,))
    new, old = (
        plan(schema, LiveDatabase(exists=True, tables={}, has_text_indexes=known)).statements for known in (True, False)
    )
    assert any("idx_message_words" in one for one in new)
    assert old == statements(declare(database="d", tables=(LOGS,)))[1:]
