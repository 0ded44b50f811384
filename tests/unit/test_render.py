"""The rendered schema, without a server: what it must contain whatever is declared."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from spoolhouse.events.builtin import BUILT_IN, METRICS, SPANS, TRACES
from spoolhouse.events.declaration import Column, Kind, Measure, Rollup, Table
from spoolhouse.events.naming import materialized_view_name, target_name, view_name
from spoolhouse.store.clickhouse.quoting import identifier, literal
from spoolhouse.store.clickhouse.schema.render import declare, object_names, script, statements, tables_of
from spoolhouse.store.clickhouse.schema.server_ddl import compacted_columns
from spoolhouse.store.clickhouse.schema.tables import DEDUPLICATION_WINDOW, column_definition, column_type

TABLES = tables_of(BUILT_IN)

GOLDEN = Path(__file__).parent / "golden"
SCRIPT = Path(__file__).parents[2] / "config" / "schema.sql"

READABLE_COLUMNS = {
    "traces_hourly_stats": "project_id deployment_id hour status count total_duration_ms avg_duration_ms",
    "spans_hourly_stats": "project_id deployment_id hour kind status count total_duration_ms avg_duration_ms",
    "spans_hourly_models": "project_id deployment_id hour model provider status count total_input_tokens "
    "total_output_tokens total_cost_usd total_duration_ms avg_duration_ms",
    "logs_hourly_stats": "project_id deployment_id hour level count",
    "metrics_hourly_stats": "project_id deployment_id name hour count sum_value avg_value min_value max_value",
    "scores_hourly_stats": "project_id deployment_id name hour count sum_value avg_value min_value max_value",
    "feedback_hourly_stats": "project_id deployment_id feedback_type hour source count",
    "hourly_metrics": "project_id hour model event_type status request_count total_tokens_input total_tokens_output "
    "total_cost_usd avg_latency_ms min_latency_ms max_latency_ms p95_latency_ms",
    "daily_metrics": "project_id day total_requests successful_requests failed_requests total_tokens_input "
    "total_tokens_output total_cost_usd avg_latency_ms unique_models",
    "project_summary": "project_id total_events prompt_calls errors successful_events total_cost avg_latency "
    "first_event_time last_event_time",
}
"""What readers of the first version of these views rely on."""


def _column(kind: Kind, **more: object) -> Column:
    return replace(Column(name="c", kind=kind, keys=("c",)), **more)


def test_the_committed_script_is_what_the_declarations_say() -> None:
    assert SCRIPT.read_text(encoding="utf-8") == script(declare(database=None, tables=TABLES))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (_column(Kind.TEXT), "String"),
        (_column(Kind.TEXT, nullable=True), "Nullable(String)"),
        (_column(Kind.TEXT, low_cardinality=True), "LowCardinality(String)"),
        (_column(Kind.TEXT, low_cardinality=True, nullable=True), "LowCardinality(Nullable(String))"),
        (_column(Kind.CHOICE, choices={"b": 2, "a": 1}), "Enum8('a' = 1, 'b' = 2)"),
        (_column(Kind.INTEGER, nullable=True), "Nullable(Int64)"),
        (_column(Kind.NUMBER), "Float64"),
        (_column(Kind.TIME), "DateTime64(3, 'UTC')"),
        (_column(Kind.JSON), "String"),
        (_column(Kind.NUMBERS), "Array(Float64)"),
        (_column(Kind.COUNTS), "Array(UInt64)"),
    ],
)
def test_types(column: Column, expected: str) -> None:
    assert column_type(column) == expected


@pytest.mark.parametrize("kind", [Kind.NUMBERS, Kind.COUNTS])
def test_an_array_cannot_be_null(kind: Kind) -> None:
    with pytest.raises(ValueError, match="cannot be NULL"):
        column_type(_column(kind, nullable=True))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (_column(Kind.TEXT, default=""), "`c` String CODEC(ZSTD(1))"),
        (_column(Kind.JSON, default="{}"), "`c` String DEFAULT '{}' CODEC(ZSTD(1))"),
        (_column(Kind.INTEGER, default=0), "`c` Int64 DEFAULT 0"),
        (_column(Kind.NUMBER, nullable=True), "`c` Nullable(Float64)"),
        (_column(Kind.TIME), "`c` DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1))"),
        (_column(Kind.TEXT, low_cardinality=True, default="x"), "`c` LowCardinality(String) DEFAULT 'x'"),
    ],
)
def test_defaults_and_codecs(column: Column, expected: str) -> None:
    assert column_definition(column).sql() == expected


@given(st.text(min_size=1).filter(lambda name: name.isprintable()))
def test_a_quoted_name_ends_where_it_should(name: str) -> None:
    quoted = identifier(name)
    assert re.fullmatch(r"`(?:[^`\\]|\\.)*`", quoted)
    assert re.sub(r"\\(.)", r"\1", quoted[1:-1]) == name


@given(st.text())
def test_a_literal_ends_where_it_should(text: str) -> None:
    quoted = literal(text)
    assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", quoted, re.DOTALL)
    unescaped = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
    assert re.sub(r"\\(.)", lambda match: unescaped.get(match[1], match[1]), quoted[1:-1]) == text


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a name"):
        identifier(name)


def test_every_table_that_is_inserted_into_remembers_tokens_and_batches() -> None:
    for event in declare(database="d", tables=TABLES).tables:
        for table in (event.table, *(rollup.target for rollup in event.rollups)):
            assert table.settings[DEDUPLICATION_WINDOW] >= 10_000
            assert "batch_id" in {column.name for column in table.columns}
        assert all(rollup.target.order_by[-1] == "batch_id" for rollup in event.rollups)


def test_old_states_of_an_event_do_not_win_over_new_ones() -> None:
    for event in declare(database="d", tables=TABLES).tables:
        assert event.table.engine == "ReplacingMergeTree"
        assert event.table.version == "recorded_at"


def test_rows_are_kept_for_so_long() -> None:
    days = {table.name: table.ttl_days for table in TABLES}
    judged, own = {"scores": 365, "feedback": 365}, {"ledger": 730, "tombstones": 730}
    agents = {"events": 90, "tool_calls": 90, "agent_steps": 90}
    assert days == {"traces": 90, "spans": 90, "logs": 30, "metrics": 90} | judged | agents | own


def test_folding_assigns_every_column_that_is_no_key() -> None:
    """What is not assigned would keep the figure of one batch and lose those of the others."""
    for event in declare(database="d", tables=TABLES).tables:
        for rollup in event.rollups:
            keys = set(rollup.target.order_by) - {"batch_id"}
            every = {column.name for column in rollup.target.columns}
            assert compacted_columns(rollup.target.ttl.compaction) == every - keys


@pytest.mark.parametrize("database", [None, "d", "odd `name`"])
def test_every_name_is_qualified_or_none_is(database: str | None) -> None:
    schema = declare(database=database, prefix="pre_", tables=TABLES)
    qualifier = "" if database is None else identifier(database) + "."
    text = "\n".join(statements(schema))
    for name in object_names(schema):
        assert name.startswith("pre_")
        assert len(re.findall(re.escape(f" {qualifier}`{name}`"), text)) == text.count(f"`{name}`") >= 1


def test_an_object_comes_after_those_that_it_needs() -> None:
    seen: list[str] = []
    for statement in statements(declare(database=None, tables=TABLES)):
        made, *_ = re.findall(r"^CREATE .*?`([^`]+)`", statement)
        for name in re.findall(r"(?:FROM|TO) `([^`]+)`", statement):
            assert name in seen
        seen.append(made)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_the_readable_views_keep_their_names_and_columns(table: Table) -> None:
    (event,) = declare(database=None, tables=(table,)).tables
    for rollup in event.rollups:
        shown = re.findall(r"`(\w+)`,?\n", rollup.view.select.split("FROM", maxsplit=1)[0])
        bare = rollup.view.name.removeprefix("mastra_admin_")
        assert set(READABLE_COLUMNS[bare].split()) <= set(shown)


def test_rollup_names() -> None:
    rollup = TRACES.rollups[0]
    assert target_name(rollup, prefix="p_") == "p_traces_hourly"
    assert materialized_view_name(rollup, prefix="p_") == "p_traces_hourly_feed"
    assert view_name(rollup, prefix="p_") == "p_traces_hourly_stats"
    other = Rollup(name="daily", time="timestamp", keys=())
    assert (
        len({target_name(other, prefix=""), materialized_view_name(other, prefix=""), view_name(other, prefix="")}) == 3
    )


def test_only_ended_spans_are_counted() -> None:
    (event,) = declare(database=None, tables=(SPANS,)).tables
    assert "WHERE `end_time` IS NOT NULL\n" in event.rollups[0].materialized_view.select


def test_a_view_is_known_by_its_definition_and_not_by_its_place() -> None:
    here, there = (declare(database=name, tables=(METRICS,)).tables[0].rollups[0] for name in ("here", None))
    assert here.view.comment == there.view.comment
    assert here.materialized_view.comment == there.materialized_view.comment
    measure = Measure(column="value", total="t", average="a")
    other = replace(METRICS, rollups=(replace(METRICS.rollups[0], measure=measure),))
    changed = declare(database="here", tables=(other,)).tables[0].rollups[0]
    assert changed.view.comment != here.view.comment
    assert changed.materialized_view.comment != here.materialized_view.comment


def test_what_a_rollup_counts_is_the_same_for_as_long_as_its_version_is() -> None:
    """A change that is wanted raises `version` in the declaration, and then comes here as a new line."""
    counted = {
        f"{rollup.rollup.name} {rollup.rollup.version}": rollup.materialized_view.comment
        for event in declare(database=None, prefix="", tables=TABLES).tables
        for rollup in event.rollups
    }
    assert counted == dict(line.split(": ") for line in (GOLDEN / "rollups.txt").read_text().splitlines())
