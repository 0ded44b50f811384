"""Unknown fields and conversions are counted by name: in the log, in the metrics, in the status; once, and bounded."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spoolhouse.decode.counts import MOST_NAMES, OTHER
from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW, good, span

ODD = lines(
    [
        span("p", 0),
        span("p", 1, userName="a"),
        span("p", 2, userName="a", host="b", durationMs="3"),
        span("p", 3, durationMs="3", kind="SERVER"),
        span("p", 4, kind=2),
    ]
)
UNKNOWN = {"userName": 2, "host": 1}
CONVERTED = {"durationMs": 2, "kind": 2}


def series(daemon: Daemon, name: str) -> Mapping[tuple[str, ...], float]:
    """Return the series of a counter by its type, and by its field where it has one."""
    families = text_string_to_metric_families(daemon.get("/metrics").body.decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(one.labels[key] for key in sorted(one.labels, reverse=True)): one.value for one in samples}


def test_they_are_in_the_log_the_metrics_and_the_status(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        drop(tmp_path, "span", "p", "a.jsonl", ODD)
        [record] = daemon.wait_for("file_settled")
        assert (record["unknown_lines"], record["unknown"]) == (2, UNKNOWN)
        assert (record["converted_lines"], record["converted"]) == (3, CONVERTED)
        assert series(daemon, "spoolhouse_unknown_field_lines_total") == {("span",): 2}
        assert series(daemon, "spoolhouse_unknown_fields_total") == {("span", key): n for key, n in UNKNOWN.items()}
        assert series(daemon, "spoolhouse_converted_lines_total") == {("span",): 3}
        assert series(daemon, "spoolhouse_conversions_total") == {("span", key): n for key, n in CONVERTED.items()}
        [kind] = [one for one in json.loads(daemon.get("/status").body)["types"] if one["type"] == "span"]
        assert (kind["unknown_lines"], kind["unknown"]) == (2, UNKNOWN)
        assert (kind["converted_lines"], kind["converted"]) == (3, CONVERTED)
        seen = command("status", "--file-storage-path", str(tmp_path), "--base-path", "").stdout
        assert "span, 2 lines: userName 2, host 1" in seen
        assert "span, 3 lines: durationMs 2, kind 2" in seen


@pytest.mark.parametrize(
    ("policy", "extras"),
    [
        ("keep", ['{"host":"b"}', '{"kind":2}', "{}"]),
        ("drop", ['{"kind":2}', "{}", "{}"]),
        ("reject", ['{"kind":2}', "{}"]),
    ],
)
def test_a_setting_says_what_becomes_of_unknown_fields(tmp_path: Path, policy: str, extras: list[str]) -> None:
    """Originals of conversions are no unknown fields."""
    url = f"duckdb://{tmp_path}/events.db"
    events = [span("p", 0), span("p", 1, host="b"), span("p", 2, kind=2)]
    drop(tmp_path, "span", "p", "a.jsonl", lines(events))
    code, daemon = once(url, tmp_path, env={"SPOOLHOUSE_EVENTS__UNKNOWN": policy})
    assert code == 0, daemon.told()
    asked = command("sql", "SELECT extra FROM mastra_admin_spans ORDER BY extra", "--json", "--store-url", url)
    assert sorted(json.loads(row)["extra"] for row in asked.stdout.splitlines()) == extras
    [record] = daemon.events("file_settled")
    assert record["rejected"] == len(events) - len(extras)


def test_lines_of_other_programs_are_counted_by_their_shape(database: Database, tmp_path: Path) -> None:
    logs = lines([{"time": NOW.isoformat(), "msg": "m", "level": 30}] * 3)
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        drop(tmp_path, "log", "p", "a.jsonl", logs)
        [record] = daemon.wait_for("file_settled")
        assert record["shapes"] == {"json_log": 3}
        assert series(daemon, "spoolhouse_foreign_lines_total") == {("log", "json_log"): 3}
        [kind] = [one for one in json.loads(daemon.get("/status").body)["types"] if one["type"] == "log"]
        assert kind["shapes"] == {"json_log": 3}
        seen = command("status", "--file-storage-path", str(tmp_path), "--base-path", "").stdout
        assert "as others write  log, 3 lines: json_log 3" in seen


def test_clean_lines_are_not_counted_and_say_nothing(database: Database, tmp_path: Path) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
    _, daemon = once(database.http_url, tmp_path)
    [record] = daemon.events("file_settled")
    assert {"unknown", "unknown_lines", "converted", "converted_lines", "shapes"}.isdisjoint(record)


def test_the_names_are_bounded_and_cannot_control_a_terminal(database: Database, tmp_path: Path) -> None:
    """Each file has as many names as are counted, and no two files have one in common."""
    files = 3
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        for number in range(files):
            event = span("p", number, **{f"{number}\x1b[2J{n}": n for n in range(MOST_NAMES)})
            drop(tmp_path, "span", "p", f"{number}.jsonl", lines([event]))
            [record] = daemon.wait_for("file_settled", path=f"span/p/{number}.jsonl")
            assert isinstance(record["unknown"], dict)
            assert len(record["unknown"]) == MOST_NAMES
        found = series(daemon, "spoolhouse_unknown_fields_total")
        assert len(found) == MOST_NAMES + 1
        assert found["span", OTHER] == (files - 1) * MOST_NAMES
        assert b"\x1b" not in daemon.get("/metrics").body
        assert "\x1b" not in command("status", "--file-storage-path", str(tmp_path), "--base-path", "").stdout


@pytest.mark.parametrize("place", ["decode.rejected", "settle.complete", "settle.acknowledged", "settle.sorted"])
def test_a_crash_counts_no_line_twice(database: Database, tmp_path: Path, place: str) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", ODD)
    once(database.native_url, tmp_path, env={"SPOOLHOUSE_TEST_FAILPOINTS": f"{place}=kill"})
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    [record] = daemon.events("file_settled")
    assert (record["lines"], record["unknown"], record["converted"]) == (5, UNKNOWN, CONVERTED)
