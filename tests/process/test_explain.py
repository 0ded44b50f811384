"""`spoolhouse explain`: what becomes of the lines of a file, with no server and no spool."""

import gzip
import json
import lzma
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import zstandard

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.examples import example
from tests.engine import Database
from tests.process.daemon import SCRIPT, command, drop, lines, once

START = "2026-11-21T12:00:00.000Z"
SPAN: dict[str, Any] = {"id": "s1", "traceId": "t1", "name": "n", "startTime": START}


def explained(path: Path | str, *flags: str, code: int = 0, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the command prints as JSON."""
    done = command("explain", str(path), "--json", *flags, env=env)
    assert (done.returncode, done.stderr) == (code, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def text(path: Path, *flags: str) -> str:
    return command("explain", str(path), *flags, env={"COLUMNS": "80"}).stdout


def write(folder: Path, *events: dict[str, Any], name: str = "a.jsonl") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines(events))
    return path


def test_a_line_of_ours_with_what_was_derived_converted_and_unknown(tmp_path: Path) -> None:
    event = SPAN | {"end_time": "2026-11-21T12:00:01.250Z", "status": "success", "duratonMs": 3, "own": 1}
    found = explained(write(tmp_path, event, name="span/shop/a.jsonl"))
    assert (found["type"], found["project"]) == ("span", "shop")
    [line] = found["lines"]
    assert (line["line"], line["type"], line["shape"], line["rejected"]) == (1, "span", "", None)
    [row] = line["rows"]
    assert row["table"] == "mastra_admin_spans"
    assert (row["values"]["project_id"], row["values"]["duration_ms"], row["values"]["status"]) == ("shop", 1250, "ok")
    assert json.loads(row["values"]["extra"]) == {"duratonMs": 3, "own": 1}
    assert line["derived"] == {
        "type": "the folder's",
        "project_id": "the folder's project",
        "duration_ms": "endTime minus startTime",
        "recorded_at": "the time of ingest",
    }
    assert line["converted"] == ["status"]
    assert (line["unknown"], line["meant"]) == (["duratonMs", "own"], {"duratonMs": "durationMs"})
    assert found["summary"]["rows"] == {"mastra_admin_spans": 1}
    seen = text(tmp_path / "span/shop/a.jsonl")
    assert "line 1: span → mastra_admin_spans" in seen
    assert "duration_ms  1250" in seen
    assert "duratonMs (durationMs?), own" in seen
    assert max(map(len, seen.splitlines()[1:])) <= 80, "all but the path"


@pytest.mark.parametrize(
    ("kind", "event", "reason", "field", "hint"),
    [
        ("span", {"start": START}, "missing_field", "startTime", "the line has start: write it as startTime"),
        ("span", {"when": START}, "missing_field", "startTime", "looked for: startTime, start_time"),
        ("log", {"timestamp": ..., "created_at": START}, "missing_field", "timestamp", "the line has created_at"),
        ("span", {"startTime": START, "durationMs": "long"}, "wrong_type", "durationMs", "a number, or text that is"),
        ("span", {"startTime": "soon"}, "bad_time", "startTime", "ISO-8601"),
        ("span", {"startTime": START, "kind": "servre"}, "bad_choice", "kind", "did you mean server?"),
        ("", {"type": "spam", "startTime": START}, "unknown_type", "type", "did you mean span?"),
        ("", {"startTime": START}, "missing_field", "type", "the folder names the type, or the line does"),
        ("json_log", {"msg": "m", "created_at": START}, "missing_field", "timestamp", "the line has created_at"),
    ],
)
def test_a_rejected_line_with_the_nearest_that_would_be_taken(  # noqa: PLR0917  # a case
    tmp_path: Path, kind: str, event: dict[str, Any], reason: str, field: str, hint: str
) -> None:
    bare = {key: value for key, value in SPAN.items() if key != "startTime"}
    full = {"span": bare, "": bare, "log": dict(example(BUILT_IN["log"])), "json_log": {}}[kind] | event
    path = write(tmp_path, {key: value for key, value in full.items() if value is not ...})
    flags = ["--type", kind.removeprefix("json_")] if kind else []
    found = explained(path, *flags, code=1)
    [line] = found["lines"]
    assert (line["rejected"]["reason"], line["rejected"]["field"], line["rows"]) == (reason, field, [])
    assert hint in " ".join(line["rejected"]["hints"])
    [group] = found["summary"]["rejects"]
    assert (group["reason"], group["field"], group["lines"], group["first_line"]) == (reason, field, 1, 1)
    assert hint in text(path, *flags).replace("\n         ", " ")


def test_it_says_what_the_daemon_does(database: Database, tmp_path: Path) -> None:
    """Of clean lines, odd ones, bad ones, blank ones, one of a foreign shape, and a torn end."""
    content = lines(
        [
            *(dict(example(event)) for event in BUILT_IN.values()),
            {"time": START, "msg": "hello", "level": 30},
            {"id": "l2", "level": "loud", "message": "m", "timestamp": START},
            {"message": "m"},
            SPAN | {"type": "span", "own": 1},
        ]
    )
    path = drop(tmp_path, "log", "shop", "a.jsonl", b"\n" + content + b"no JSON\n[]\n" + b'{"torn"')
    found = explained(path, code=1, env={"SPOOLHOUSE_SPOOL__STORAGE_PATH": str(tmp_path)})
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    [record] = daemon.events("file_settled")
    summary = found["summary"]
    assert (summary["lines"], summary["rejected"]) == (record["lines"], record["rejected"])
    assert {name.removeprefix("mastra_admin_"): count for name, count in summary["rows"].items()} == record["rows"]
    assert (summary["unknown"], summary["shapes"]) == (record["unknown"], record["shapes"])
    kept = [line for path in tmp_path.glob("rejected/*/*.jsonl") for line in path.read_text().splitlines()]
    rejected = [json.loads(line) for line in kept]
    expected = sorted((one["line"], one["offset"], one["reason"], one["field"], one["detail"]) for one in rejected)
    again = explained(tmp_path / "log/shop/processed/a.jsonl", "--limit", "100", code=1)
    told = [(one["line"], one["offset"], one["rejected"]) for one in again["lines"] if one["rejected"]]
    assert [(n, at, why["reason"], why["field"], why["detail"]) for n, at, why in told] == expected
    [row] = [row["values"] for one in again["lines"] for row in one["rows"] if row["values"].get("message") == "hello"]
    landed = database.query("SELECT level, id, attributes FROM mastra_admin_logs WHERE message = 'hello'")
    assert [(row["level"], row["id"], row["attributes"])] == landed


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".xz"])
def test_compressed_files_and_long_ones_are_summed_up(tmp_path: Path, ending: str) -> None:
    content = lines([SPAN | {"id": f"s{n}"} for n in range(3000)] + [{"id": 1}])
    packed = {
        "": content,
        ".gz": gzip.compress(content),
        ".zst": zstandard.compress(content),
        ".xz": lzma.compress(content),
    }[ending]
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(packed)
    found = explained(path, "--type", "span", "--project", "p", "--limit", "2", code=1)
    assert [line["line"] for line in found["lines"]] == [1, 2]
    assert (found["summary"]["lines"], found["summary"]["rejected"]) == (3001, 1)
    assert found["summary"]["rejects"][0]["first_line"] == 3001
    by_content = subprocess.run(
        [SCRIPT, "explain", "-", "--type", "span", "--json"], input=packed, capture_output=True, check=False, timeout=60
    )
    assert json.loads(by_content.stdout)["summary"]["lines"] == 3001
    seen = text(path, "--type", "span", "--limit", "2")
    assert "line 2: " in seen
    assert "line 3: " not in seen
    assert "3,001 lines: 3,000 would land, 1 would be rejected" in seen
    assert "missing_field traceId" in seen


def test_a_model_call_is_told_to_be_derived(tmp_path: Path) -> None:
    call = {"gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 3}
    [line] = explained(write(tmp_path, SPAN | {"attributes": call}), "--type", "span")["lines"]
    assert {column for column, source in line["derived"].items() if source == "from attributes"} == {
        "model",
        "input_tokens",
    }


def test_a_line_of_many_rows_shows_the_first_ones(tmp_path: Path) -> None:
    event = dict(example(BUILT_IN["tool_call"])) | {"tool_calls": [{"tool_name": f"t{n}"} for n in range(5000)]}
    path = write(tmp_path, event)
    assert "and 4,996 more rows" in text(path)
    [line] = explained(path)["lines"]
    assert len(line["rows"]) == 5002


def test_standard_input_and_a_closed_pipe(tmp_path: Path) -> None:
    content = lines([SPAN] * 20_000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    done = subprocess.run(
        ["bash", "-c", f"{SCRIPT} explain - --type span --limit 20000 < {path} | head -n 1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    first, code = done.stdout.splitlines()
    assert (first, code, done.stderr) == ("standard input, as a file of span/", "141", "")


def test_nothing_controls_the_terminal(tmp_path: Path) -> None:
    event = SPAN | {"name": "\x1b[2Jn\r", "\x1b]0;x\x07": "\x1b[1m", "attributes": {"\x9b1m": 1}}
    path = write(tmp_path, event, {"\x1b[2J": "\x1b[2J", "type": "\x1b[2J"}, name="\x1b[2J.jsonl")
    for flags in ([], ["--json"], ["--type", "span"]):
        done = command("explain", str(path), *flags, "--project", "\x1b[2J")
        assert not {"\x1b", "\x07", "\r", "\x9b"} & set(done.stdout + done.stderr)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.jsonl", None, "No such file"),
        (".", None, "s a directory"),
        ("a.jsonl.gz", gzip.compress(b"x" * 100_000)[:-9], "cannot be read to its end"),
    ],
)
def test_a_file_that_cannot_be_read_exits_66(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = command("explain", str(tmp_path / name), "--type", "span")
    assert done.returncode == 66
    assert said in done.stderr
    assert "0 lines" not in done.stdout
    assert done.stderr.count("\n") == 1


def test_settings_count(tmp_path: Path) -> None:
    """Types of one's own, policies, and a wrong type."""
    path = write(tmp_path, SPAN | {"own": 1, "projectId": "other"}, name="span/shop/a.jsonl")
    for name, policy in (("EVENTS__UNKNOWN", "unknown_field"), ("SPOOL__PROJECT", "project_mismatch")):
        [line] = explained(path, code=1, env={f"SPOOLHOUSE_{name}": "reject"})["lines"]
        assert line["rejected"]["reason"] == policy
    own = {"SPOOLHOUSE_EVENTS__FOLDER": str(Path(__file__).parents[2] / "config" / "events")}
    [line] = explained(write(tmp_path, {"a": 1}), "--type", "deployment", code=1, env=own)["lines"]
    assert line["type"] == "deployment"
    done = command("explain", str(path), "--type", "spam")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "spoolhouse: no event type 'spam'; did you mean span?\n"


def test_a_name_that_the_daemon_does_not_take_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, SPAN, name="a.txt")
    assert "The spool takes no file of this name, but *.jsonl" in text(path, "--type", "span")
    assert "takes no file" not in text(write(tmp_path, SPAN, name="a.NDJSON"), "--type", "span")
