"""The commands that ask, as a person has them: tables, a waterfall, exit codes, one sentence for each error."""

import json
import os
import pty
import subprocess
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.engine import Database, Server
from tests.process.daemon import SCRIPT, command
from tests.process.forked import ForkedProcess
from tests.query.landed import NOW, Event, feedback, land, log, metric, prompt, score, span, step, trace

HOSTILE = "evil \x1b[31m\u202e\r name"
EVENTS: list[Event] = [
    trace(1), trace(2, name="שלום עולם"), trace(3, name="支払い処理"), trace(4, name=HOSTILE),
    span(1, traceId="t001", name="root"), span(2, traceId="t001", parentSpanId="s001", name="子 child", status="error"),
    log(1, traceId="t001", message="x" * 300), metric(1), score(1), feedback(1), prompt(1), step(1),
]  # fmt: skip


@pytest.fixture
def url(database: Database, tmp_path: Path) -> str:
    """A database with some of everything."""
    land(database, tmp_path, EVENTS)
    return database.native_url


def on_a_terminal(arguments: Sequence[str], **env: str) -> str:
    """Return what a command shows on a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", **env}
    process = ForkedProcess(*arguments, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # the terminal is gone with its last process
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


LISTS = ("traces", "spans", "logs", "metrics", "scores", "feedback", "events", "runs")


@pytest.mark.parametrize("columns", [80, 200])
def test_each_list_fits_the_terminal(url: str, columns: int) -> None:
    for name in LISTS:
        arguments = [name, "--project", "shop", "--clickhouse-url", url]
        text = on_a_terminal(arguments, COLUMNS=str(columns), NO_COLOR="1")
        lines = text.replace("\r\n", "\n").splitlines()
        assert len(lines) > 1, name
        assert max(map(cell_len, lines)) <= columns, text
        assert not {"\x1b", "\u202e", "\r"} & {*text.replace("\r\n", "\n")}


def test_a_narrow_terminal_has_whole_words(database: Database, tmp_path: Path) -> None:
    """The date stands once; of events, whose columns have no room, the least important ones are named and left out."""
    run, one = "f7a4e55b9cb97177f76f77eb6660335f", "prompt_call_d20498cf5097932140881c9d"
    land(database, tmp_path, [prompt(2, run_id=run, event_id=one), span(2, traceId=run, id="33562ac31953c026")])
    where = ["--project", "shop", "--clickhouse-url", database.native_url]
    [head, row, note] = on_a_terminal(["events", *where], COLUMNS="80", NO_COLOR="1").splitlines()
    day, time = f"{NOW - timedelta(minutes=2):%Y-%m-%d %H:%M:%S.000}".split()
    assert head.split() == [day, "type", "status", "latency", "run"]
    assert row.split() == [time, "prompt_call", "success", "20", "ms", run]
    assert note == "a wider terminal, and --json, have more: event, model, cost $"
    [head, row, note] = on_a_terminal(["spans", *where], COLUMNS="80", NO_COLOR="1").splitlines()
    assert (run in row, "15.0 s" in row, "more: kind, span" in note) == (True, True, True)
    land(database, tmp_path, [span(3, projectId="other")], project="other")
    of_all = on_a_terminal(["spans", "--all-projects", *where[2:]], COLUMNS="80", NO_COLOR="1").splitlines()
    assert [line.split()[1] for line in of_all[:3]] == ["project", "shop", "other"]
    wide = on_a_terminal(["events", *where], COLUMNS="200", NO_COLOR="1")
    assert (one in wide, run in wide, "more" in wide) == (True, True, False)
    select = on_a_terminal(["sql", "SELECT * FROM mastra_admin_spans", *where[2:]], COLUMNS="80", NO_COLOR="1")
    assert ["trace_id", run] in [line.split() for line in select.splitlines()]


def test_a_trace_is_a_waterfall(url: str) -> None:
    arguments = ["trace", "t001", "--project", "shop", "--logs", "--clickhouse-url", url]
    plain = on_a_terminal(arguments, COLUMNS="80", NO_COLOR="1")
    lines = plain.replace("\r\n", "\n").splitlines()
    assert max(map(cell_len, lines)) <= 80
    [root, child] = [line for line in lines if "━" in line]
    assert root.startswith("root") or child.startswith("root")
    failed = next(line for line in (root, child) if "child" in line)
    assert failed.startswith("  ✗ 子 child")
    assert "15.0 s" in failed
    coloured = on_a_terminal(arguments, COLUMNS="80")
    assert "\x1b[31m" in coloured


def test_colours_are_for_terminals(url: str) -> None:
    assert "\x1b" in on_a_terminal(["traces", "--project", "shop", "--clickhouse-url", url], COLUMNS="80")
    assert "\x1b" not in command("traces", "--project", "shop", "--clickhouse-url", url).stdout


def test_what_is_cut_off_is_said_and_can_be_gone_on_with(url: str) -> None:
    arguments = ("traces", "--project", "shop", "--clickhouse-url", url, "--json", "--limit", "3")
    first = command(*arguments)
    assert (first.returncode, len(first.stdout.splitlines())) == (0, 3)
    cursor = first.stderr.rpartition("--cursor ")[2].strip()
    rest = command(*arguments, "--cursor", cursor)
    assert (rest.returncode, rest.stderr) == (0, "")
    ids = [json.loads(line)["id"] for line in (first.stdout + rest.stdout).splitlines()]
    assert ids == ["t001", "t002", "t003", "t004"]
    by_two = command(*arguments, "--page-size", "2")
    assert by_two.stdout == first.stdout
    assert "there are more" in by_two.stderr


def test_spans_without_traces_are_pointed_out(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [span(1)])
    done = command("traces", "--project", "shop", "--clickhouse-url", database.native_url)
    assert done.returncode == 0
    assert "no traces, but spans" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["traces"], 2, "--project"),
        (["traces", "--project", "p", "--all-projects"], 2, "--all-projects"),
        (["traces", "--project", "p", "--status", "good"], 2, "unset, ok, error"),
        (["traces", "--project", "p", "--limit", "0"], 2, "1 or more"),
        (["traces", "--project", "p", "--page-size", "0"], 2, "1 to 1000"),
        (["traces", "--project", "p", "--limit", "many"], 2, "--limit"),
        (["traces", "--project", "p", "--since", "soon"], 2, "2h or 7d"),
        (["traces", "--project", "p", "--order", "id"], 2, "duration_ms"),
        (["traces", "--project", "p", "--cursor", "abc"], 2, "cursor"),
        (["traces", "--project", "p", "--label", "x"], 2, "KEY=VALUE"),
        (["logs", "--project", "p", "--level", "loud"], 2, "debug, info"),
        (["figures", "spam", "--project", "p"], 2, "span"),
        (["figures", "span", "--project", "p", "--of", "mean"], 2, "avg"),
        (["figures", "span", "--project", "p", "--every", "1x"], 2, "5m"),
        (["figures", "log", "--project", "p", "--of", "avg"], 2, "avg:COLUMN"),
        (["values", "secrets", "--project", "p"], 2, "models"),
        (["traces", "--project", "p"], 69, "127.0.0.1:1"),
        (["trace", "t", "--project", "p"], 69, "127.0.0.1:1"),
        (["sql", "SELECT 1"], 69, "127.0.0.1:1"),
        (["traces", "--project", "p", "--clickhouse-url", "ftp://x"], 78, "clickhouse.url"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_an_error_is_one_sentence(arguments: list[str], code: int, named: str) -> None:
    done = command(*arguments[:1], "--clickhouse-url", "clickhouse://127.0.0.1:1", *arguments[1:])
    assert (done.returncode, done.stdout) == (code, "")
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    if not done.stderr.startswith("usage:"):
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("shown", ["--json", ""])
def test_a_reader_that_leaves_is_no_error(url: str, shown: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    arguments = filter(None, ["logs", "--project", "shop", shown, "--clickhouse-url", url])
    done = subprocess.run([SCRIPT, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_figures_values_and_sql_are_printed(url: str) -> None:
    where = ("--project", "shop", "--clickhouse-url", url)
    done = command("figures", "trace", *where, "--of", "count,error_rate", "--by", "status", "--json")
    assert [json.loads(line)["values"] for line in done.stdout.splitlines()] == [
        {"count": 2, "error_rate": 0.0}, {"count": 2, "error_rate": 1.0},
    ]  # fmt: skip
    assert done.stderr == "from rows\n"
    assert "error_rate" in command("figures", "trace", *where, "--of", "error_rate", "--every", "6h").stdout
    [heads, _] = command("figures", "span", *where, "--of", "p95,count,avg:duration_ms").stdout.splitlines()
    assert heads.split() == ["p95", "(ms)", "count", "avg:duration_ms"]
    assert command("values", "names", *where).stdout == "queue 1\n"
    done = command("sql", "SELECT 1 AS one, 'x' AS two", "--clickhouse-url", url, "--json")
    assert done.stdout == '{"one":1,"two":"x"}\n'
    assert "one" in command("sql", "SELECT 1 AS one", "--clickhouse-url", url).stdout
    done = command("sql", "SELECT", "--clickhouse-url", url)
    assert (done.returncode, done.stderr) == (2, "spoolhouse: sql: syntax error at its end; one SELECT is accepted\n")


@pytest.mark.parametrize("arguments", [["traces"], ["trace", "t"], ["figures", "span"], ["values", "models"], ["runs"]])
def test_a_missing_table_is_one_sentence(arguments: list[str], server: Server) -> None:
    with Database.new(server) as database:
        done = command(*arguments, "--project", "p", "--clickhouse-url", database.native_url)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.endswith("(ClickHouse code 60); run `spoolhouse migrate`\n")
    assert "SELECT" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["traces"], 0, "no traces there"),
        (["runs"], 0, "no runs there"),
        (["runs", "r7"], 1, "no run r7 in this project"),
        (["trace", "t7"], 1, "no trace t7 in this project"),
        (["values", "models"], 0, "no models of spans there; --signal asks for those of another list"),
        (["values", "label_keys"], 0, "no label keys of metrics there; --signal asks for those of another list"),
        (["figures", "span", "--by", "name, kind", "--every", "3600"], 0, "from rows; nothing there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_nothing_is_said_to_be_there(arguments: list[str], code: int, said: str, database: Database) -> None:
    done = command(*arguments, "--project", "other", "--clickhouse-url", database.native_url)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{said}\n")


def test_one_run_is_shown_by_its_events(url: str, database: Database, tmp_path: Path) -> None:
    land(database, tmp_path, [prompt(number, project_id="long") for number in (3, 6, 9)], project="long")
    done = command("runs", "r0", "--project", "shop", "--json", "--clickhouse-url", url)
    assert [json.loads(line)["event_id"] for line in done.stdout.splitlines()] == ["p001"]
    first = command("runs", "r0", "--project", "long", "--limit", "2", "--json", "--clickhouse-url", url)
    rest = ("--cursor", first.stderr.rpartition("--cursor ")[2].strip())
    done = command("runs", "r0", "--project", "long", "--limit", "2", "--json", *rest, "--clickhouse-url", url)
    ids = [json.loads(line)["event_id"] for line in (first.stdout + done.stdout).splitlines()]
    assert (ids, done.stderr) == (["e009", "e006", "e003"], "")
    assert command("runs", "--project", "long", *rest, "--clickhouse-url", url).returncode == 2
    assert command("runs", "none", "--project", "shop", "--clickhouse-url", url).returncode == 1
    assert command("trace", "none", "--project", "shop", "--clickhouse-url", url).returncode == 1
