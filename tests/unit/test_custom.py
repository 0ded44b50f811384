"""Declarations of event types: what they come to, and what is refused with which key and reason."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoolhouse.decode.line_decoder import LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.errors import BadSettingError
from spoolhouse.events import registry
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.custom import event_type
from spoolhouse.events.errors import DeclarationError
from spoolhouse.export.samples import SampleEvents
from spoolhouse.export.samples.declared import template_of
from spoolhouse.settings.events import EventsSettings

EXAMPLE = Path(__file__).parents[2] / "config" / "events" / "deployment.toml"
NOW = 1_795_262_400_000


def declared(**changes: Any) -> dict[str, Any]:
    """Return a small good declaration with changes; `...` takes a key away, `rename` and the like go into columns."""
    document: dict[str, Any] = {
        "type": "build",
        "table": "builds",
        "time": "at",
        "key": ["project_id", "at", "id"],
        "ttl_days": 30,
        "columns": [
            {"name": "id", "type": "String", "required": True},
            {"name": "project_id", "type": "String", "required": True},
            {"name": "at", "type": "DateTime64(3)", "required": True},
            {"name": "size", "type": "Int32"},
        ],
    }
    document |= changes
    return {key: value for key, value in document.items() if value is not ...}


def plus(**column: Any) -> dict[str, Any]:
    """Return the declaration with one more column."""
    return declared(columns=[*declared()["columns"], {"name": "extra", **column}])


def rollup(**changes: Any) -> dict[str, Any]:
    given = {"name": "builds_by_hour", "keys": ["project_id"]} | changes
    return declared(rollup={key: value for key, value in given.items() if value is not ...})


def rollup_of(measure: str, time: str = "at") -> dict[str, Any]:
    columns = [{"name": name, "type": "String", "required": True} for name in ("id", "project_id")]
    columns += [{"name": time, "type": "DateTime64(3)", "required": True}, {"name": measure, "type": "Int32"}]
    return rollup(measure=measure) | {"columns": columns, "time": time, "key": ["project_id", time, "id"]}


def test_the_smallest_declaration_is_enough() -> None:
    event = event_type(declared())
    assert (event.name, event.table.name, event.table.ttl_days, event.project) == ("build", "builds", 30, "project_id")
    assert [column.name for column in event.table.columns] == ["id", "project_id", "at", "size", "recorded_at", "extra"]


@pytest.mark.parametrize(
    ("document", "key", "reason"),
    [
        (declared(type=...), "type", "missing"),
        (declared(type=3), "type", "text is needed"),
        (declared(type="Build"), "type", "no name"),
        (declared(type="rejected"), "type", "folder of Spoolhouse's own"),
        (declared(table="builds; DROP"), "table", "no name"),
        (declared(colums=[]), "colums", "did you mean columns?"),
        (declared(columns=...), "columns", r"\[\[columns\]\]"),
        (declared(columns=[]), "columns", "needed"),
        (declared(columns=[3]), "columns", "needed"),
        (declared(time=...), "time", "missing"),
        (declared(time="when"), "time", "no column when"),
        (declared(time="size"), "time", "DateTime64"),
        (declared(project="size"), "project", "String that is required"),
        (declared(project="projekt_id"), "project", "did you mean project_id?"),
        (declared(key=["at", "id"]), "key", "project_id is missing"),
        (declared(key=["project_id", "at", "at"]), "key", "twice"),
        (declared(key="id"), "key", "list of column names"),
        (declared(key=["project_id", "ids"]), "key", "did you mean id?"),
        (declared(partition="day"), "partition", "month"),
        (declared(ttl_days=0), "ttl_days", "1 to 2190"),
        (declared(ttl_days=True), "ttl_days", "whole number"),
        (declared(ttl_days=3000), "ttl_days", "1 to 2190"),
        (declared(ttl_days=...), "ttl_days", "whole number"),
        (plus(type="String", name="id"), "columns[5].name", "there already"),
        (plus(type="String", name="batch_id"), "columns[5].name", "there already"),
        (plus(type="String", name="a`b"), "columns[5].name", "no name"),
        (plus(type="String", paht="x"), "columns[5].paht", "did you mean path?"),
        (plus(type="UInt128"), "columns.extra.type", "none of String, JSON"),
        (plus(type="Nullable(Nullable(String))"), "columns.extra.type", "each once"),
        (plus(type="Nullable(Array(String))"), "columns.extra.type", "cannot be Nullable"),
        (plus(type="LowCardinality(Int64)"), "columns.extra.type", "for String"),
        (plus(type="Enum8('a' = 1, 'a' = 2)", default="a"), "columns.extra.type", "a value of its own"),
        (plus(type="Enum8('a' = 200)", default="a"), "columns.extra.type", "128"),
        (plus(type="Enum8('it's' = 1)", default="a"), "columns.extra.type", "a value of its own"),
        (plus(type="Enum8('a' = 1)"), "columns.extra.default", "needed, or required"),
        (plus(type="Enum8('a' = 1)", default="b"), "columns.extra.default", "no value"),
        (plus(type="DateTime64(3)"), "columns.extra.default", "needed, or required"),
        (plus(type="DateTime64(3)", default="2026-01-01"), "columns.extra.default", "no value"),
        (plus(type="Int32", default=2**31), "columns.extra.default", "no value"),
        (plus(type="Int64", default=True), "columns.extra.default", "no value"),
        (plus(type="Float64", default=float("inf")), "columns.extra.default", "no value"),
        (plus(type="Bool", default=0), "columns.extra.default", "no value"),
        (plus(type="Array(String)", default="x"), "columns.extra.default", "no value"),
        (plus(type="String", required=True, default=""), "columns.extra.default", "no use"),
        (plus(type="String", required="yes"), "columns.extra.required", "true or false"),
        (plus(type="Int64", bloom=True), "columns.extra.bloom", "only of a String"),
        (plus(type="String", path=""), "columns.extra.path", "dots between"),
        (plus(type="String", path="a..b"), "columns.extra.path", "dots between"),
        (plus(type="String", path=3), "columns.extra.path", "dots between"),
        (plus(type="String", path=[]), "columns.extra.path", "no path"),
        (plus(type="String", path="type"), "columns.extra.path", "envelope's own"),
        (plus(type="String", path="data.x"), "columns.extra.path", "envelope's own"),
        (plus(type="String", path="size"), "columns", "size: read as text here, and as integer32 elsewhere"),
        (plus(type="String", path="size.x"), "columns", "size is not read as an object"),
        (plus(type="String", name="recorded_at"), "columns.recorded_at.type", "DateTime64"),
        (declared(rollup=3), "rollup", "a table is needed"),
        (rollup(name="x-y"), "rollup.name", "no name"),
        (rollup(keys=[]), "rollup.keys", "list of column names"),
        (rollup(keys=["id"]), "rollup.keys", "project_id is missing"),
        (rollup(keys=["project_id", "at"]), "rollup.keys", "few values"),
        (rollup(measure="id"), "rollup.measure", "not an Int32"),
        (rollup(grain="week"), "rollup.grain", "hour, day"),
        (rollup_of("lines"), "rollup.measure", "lines is what the rollup calls something else"),
        (rollup_of("hour"), "rollup.measure", "hour is what"),
        (rollup_of("x", time="x_sum"), "time", "x_sum is what"),
        (rollup_of("x", time="hour"), "time", "hour is what"),
        (rollup(version=0), "rollup.version", "whole number"),
        (rollup(ttl_days="long"), "rollup.ttl_days", "whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_key(document: dict[str, Any], key: str, reason: str) -> None:
    with pytest.raises(DeclarationError, match=reason) as caught:
        event_type(document)
    assert caught.value.key == key
    assert "\n" not in str(caught.value)


def decoded(event_document: dict[str, Any], *lines: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    event = event_type(event_document)
    piece = Piece(offset=0, data=b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    result = LineDecoder({event.name: event}).decode(piece, Origin(project="p", policy="warn", clock_ms=NOW))
    rows = [json.loads(row) for table in result.rows.values() for row in table.data.splitlines()]
    return rows, [(reject.reason, reject.field) for reject in result.rejects]


def test_paths_lead_into_objects_and_past_dots() -> None:
    document = plus(type="Nullable(String)", path=["http.status\\.code", "status"])
    base = {"type": "build", "id": "1", "project_id": "p", "at": "2026-11-21T12:00:00Z"}
    rows, rejects = decoded(
        document,
        base | {"http": {"status.code": "200"}, "status": "no"},
        base | {"http": {"status": {"code": "no"}}, "status": "201"},
        base | {"http": None},
        base | {"http": "no object"},
        {"event_type": "build", "data": {**base, "http": {"status.code": "202"}}},
    )
    assert [row[4] for row in rows] == ["200", "201", None, "202"]
    assert rejects == [(Reason.WRONG_TYPE, "http")]


def test_a_time_may_be_that_of_the_ingest() -> None:
    document = declared()
    document["columns"][2] = {"name": "at", "type": "DateTime64(3)", "default": "now"}
    rows, rejects = decoded(document, {"type": "build", "id": "1", "project_id": "p"})
    assert (rows[0][2], rejects) == ("2026-11-21T12:00:00Z", [])


TYPES = {
    "String": "d", "Nullable(String)": ..., "LowCardinality(Nullable(String))": ..., "JSON": "{}",
    "Nullable(JSON)": ...,
    "Bool": True, "Nullable(Bool)": ..., "Int32": -1, "Nullable(Int32)": ..., "Int64": 7, "Nullable(Int64)": ...,
    "Float64": 0.5, "Nullable(Float64)": ..., "DateTime64(3, 'UTC')": "now", "Nullable(DateTime64(3))": ...,
    "Array(String)": ..., "Array(Float64)": ..., "Array(UInt64)": ...,
    "Enum8('a' = 1, 'ü b' = -2)": "a", "Nullable(Enum8('a' = 1))": ...,
}  # fmt: skip
"""Every type that a column may have, with a default."""


def every_type() -> dict[str, Any]:
    document = declared()
    for number, (spelt, default) in enumerate(TYPES.items()):
        for place in ("", "in."):
            name = f"{place.removesuffix('.')}c{number}"
            column = {"name": name, "type": spelt, "path": [f"{place}x{number}", f"y{number}"], "default": default}
            document["columns"].append({key: value for key, value in column.items() if value is not ...})
    return document


EVERY = LineDecoder({"build": event_type(every_type())})
SOME = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "ü b", "2026-11-21T12:00:00Z", "2026-11-21 12:00:00", 1_795_262_400, {}, [], [1], ["a"]]),
    st.lists(st.integers(-1, 2**64) | st.text(max_size=2) | st.none(), max_size=2),
)  # fmt: skip
FIELDS = st.dictionaries(st.sampled_from([f"{key}{n}" for n in range(len(TYPES)) for key in "xy"]), SOME, max_size=4)


@given(FIELDS, st.none() | FIELDS | st.integers(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_each_type_is_read_alike_in_bulk_and_alone(outer: dict[str, Any], inner: object, enveloped: bool) -> None:
    content = {"id": "1", "project_id": "p", "at": "2026-11-21T12:00:00Z"} | outer | {"in": inner}
    line = {"type": "build", "data": content} if enveloped else {"type": "build"} | content
    data = json.dumps(line).encode() + b"\n"
    origin = Origin(project="p", policy="warn", clock_ms=NOW)
    alone = EVERY.decode(Piece(offset=0, data=data), origin)
    beside = EVERY.decode(Piece(offset=0, data=data + b"{}\n"), origin)
    assert (alone.rows, alone.rejects) == (beside.rows, beside.rejects[:-1])
    assert alone.lines == 1


def test_a_line_without_type_and_project_is_of_its_folder() -> None:
    line = json.dumps({"id": "1", "at": "2026-11-21T12:00:00Z"}).encode() + b"\n"
    named = json.dumps({"type": "build", "id": "1", "at": "2026-11-21T12:00:00Z", "project_id": "p"}).encode() + b"\n"
    origin = Origin(project="p", policy="reject", clock_ms=NOW, type="build", file="build/p/a.jsonl")
    found, told = (EVERY.decode(Piece(offset=0, data=data), origin) for data in (line, named))
    assert (found.rejects, found.mismatched) == ([], 0)
    assert found.rows == told.rows


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def test_no_folder_means_the_built_in_types() -> None:
    assert registry.load(EventsSettings()) == BUILT_IN


def test_the_example_is_loaded_beside_the_built_in_types() -> None:
    events = registry.load(EventsSettings(folder=EXAMPLE.parent))
    assert events.keys() - BUILT_IN.keys() == {"deployment"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('type = "deployment"', 'type = "span"'), "type: span is there already"),
        (('table = "deployments"', 'table = "spans"'), "table: spans is a built-in one"),
        (('table = "deployments"', 'table = "ledger"'), "table: ledger is a built-in one"),
        (('table = "deployments"', 'table = "logs_hourly"'), "table: logs_hourly is a built-in one"),
        (('name = "deployments_hourly_stats"', 'name = "spans_hourly_stats"'), "rollup.name: spans_hourly_stats is"),
        (('table = "deployments"', 'table = "deployments_hourly"'), "rollup.name: deployments_hourly is its own table"),
        (('table = "deployments"', 'table = "local_logs"'), "table: local_logs is a built-in one"),
        (("ttl_days = 180", "ttl_days = "), "not TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    write(tmp_path, "deployment.toml", EXAMPLE.read_text().replace(*change))
    with pytest.raises(BadSettingError, match=re.escape(f"{tmp_path / 'deployment.toml'}: {said}")):
        registry.load(EventsSettings(folder=tmp_path))


def test_two_files_cannot_declare_the_same(tmp_path: Path) -> None:
    write(tmp_path, "a.toml", EXAMPLE.read_text())
    write(tmp_path, "b.toml", EXAMPLE.read_text().replace('type = "deployment"', 'type = "other"'))
    write(tmp_path, ".c.toml", "no declaration")
    write(tmp_path, "d.txt", "no declaration")
    with pytest.raises(BadSettingError, match=r"b\.toml: table: deployments is one of a\.toml"):
        registry.load(EventsSettings(folder=tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("deployments", "deployments_hourly_v2"), "table: deployments_hourly_v2"),
        (("deployments", "deployments_hourly_v2_feed"), "table: deployments_hourly_v2_feed"),
        # What an earlier version has counted is still there.
        (("deployments", "deployments_hourly"), "table: deployments_hourly"),
        # What a cluster calls the tables of each shard.
        (("deployments", "local_deployments"), "table: local_deployments"),
        (("deployments", "local_deployments_hourly_v2"), "table: local_deployments_hourly_v2"),
        (("others_stats", "deployments_hourly_v2_stats"), "rollup.name: deployments_hourly_v2"),
    ],
)
def test_the_names_of_each_version_of_a_rollup_are_taken(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    text = EXAMPLE.read_text()
    write(tmp_path, "a.toml", text.replace("version = 1", "version = 2"))
    other = text.replace('type = "deployment"', 'type = "other"').replace("deployments_hourly_stats", "others_stats")
    before, after = change
    table = before if before == "deployments" else "others"
    other = other.replace('table = "deployments"', f'table = "{table}"').replace(f'"{before}"', f'"{after}"')
    write(tmp_path, "b.toml", other)
    with pytest.raises(BadSettingError, match=rf"b\.toml: {re.escape(said)} is one of a\.toml already"):
        registry.load(EventsSettings(folder=tmp_path))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettingError, match=r"events\.folder: .*gone cannot be read"):
        registry.load(EventsSettings(folder=tmp_path / "gone"))


@pytest.mark.parametrize("shape", ["flat", "enveloped"])
def test_samples_of_the_example_are_valid(shape: Any) -> None:
    event = event_type(tomllib.loads(EXAMPLE.read_text()))
    sample = SampleEvents(seed=1, now_ms=NOW, shape=shape, declared={"deployment": template_of(event)})
    lines = list(sample.lines("deployment", "shop", 0, 300))
    assert lines == list(sample.lines("deployment", "shop", 0, 300))
    assert len(set(lines)) == 300
    piece = Piece(offset=0, data=b"\n".join(lines) + b"\n")
    result = LineDecoder({"deployment": event}).decode(piece, Origin(project="shop", policy="reject", clock_ms=NOW))
    assert (result.rejects, result.rows["deployments"].count) == ([], 300)
