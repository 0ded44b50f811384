"""The command line as a shell sees it: help, exit codes, what is said and where."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spoolhouse import __version__
from spoolhouse.cli import parser
from spoolhouse.export.samples import PER_TRACE
from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import _OBEY_PERMISSIONS, SCRIPT
from tests.process.forked import run

HELP = Path(__file__).parents[1] / "repo" / "help"
READ_SETTINGS = (
    "ingest",
    "status",
    "check",
    "pause",
    "resume",
    "release",
    "retry",
    "migrate",
    "generate",
    "types",
    "explain",
    "tables",
    "trace-file",
    "replay",
    "verify",
    "traces",
    "trace",
    "figures",
    "sql",
    "delete",
    "serve",
)
COMMANDS = (
    *READ_SETTINGS, "config", "spans", "logs", "metrics", "scores", "feedback", "events", "runs", "values"
)  # fmt: skip
NEEDED = {
    "trace-file": ["a.jsonl"],
    "replay": ["a.jsonl"],
    "retry": ["--all"],
    "verify": ["a.jsonl"],
    "explain": ["a.jsonl"],
    "trace": ["t"],
    "figures": ["span"],
    "sql": ["SELECT 1"],
    "delete": ["traces", "t", "--project", "p"],
}
"""What a command cannot do without."""
SECRET = "hunter2-and-more"


def anew(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in an interpreter of its own, with the environment that `spoolhouse` gives it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPOOLHOUSE_")}
    return subprocess.run(
        [sys.executable, "-m", "spoolhouse", *map(str, arguments)],
        env={**inherited, "COLUMNS": "80", "SPOOLHOUSE_CONFIG": "", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )


def spoolhouse(
    *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end, without this machine's configuration, on a terminal-less 80 columns."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPOOLHOUSE_")}
    return run(*arguments, env={**own, "COLUMNS": "80", "SPOOLHOUSE_CONFIG": "", **(env or {})}, cwd=cwd)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_the_committed_one(command: str) -> None:
    """To renew one: COLUMNS=80 spoolhouse ingest --help > tests/repo/help/ingest.txt."""
    done = spoolhouse(*filter(None, [command]), "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == (HELP / f"{command or 'spoolhouse'}.txt").read_text()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_and_shows_examples(command: str) -> None:
    text = (HELP / f"{command or 'spoolhouse'}.txt").read_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "examples:" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_a_commands_help_is_the_same_in_the_list_of_all(command: str) -> None:
    """The list does not import the command."""
    assert parser(command).format_help() == parser().format_help()


def test_the_version_is_the_packages() -> None:
    assert anew("--version").stdout == f"spoolhouse {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "COMMAND"),
        (["devour"], "devour"),
        (["ingest", "--batch-sise", "5"], "--batch-sise"),
        (["ingest", "--batch-siz", "5"], "--batch-siz"),
        (["ingest", "--batch-size", "-5"], "--batch-size"),
        (["ingest", "--batch-size", "0"], "--batch-size"),
        (["ingest", "--batch-size", "many"], "--batch-size"),
        (["ingest", "--poll-interval", "1.5"], "--poll-interval"),
        (["ingest", "--poll-interval", "NaN"], "--poll-interval"),
        (["ingest", "--file-storage-type", "s3"], "--file-storage-type"),
        (["generate", "--rows", "x"], "--rows"),
        (["generate", "--rate", "nan"], "--rate"),
        (["generate", "--rate", "0"], "--rate"),
        (["generate", "--types", "span,spam"], "--types"),
        (["generate", "--now", "soon"], "--now"),
        (["generate", "--rows", "3", "--files", "9"], "--files"),
        (["generate", "--files", "2", "--types", "span,log,trace"], "--files"),
        (["migrate", "--check", "--print"], "--print"),
        (["status", "--interval", "1e300"], "--interval"),
        (["status", "--interval", "1e-9"], "--interval"),
        (["pause", "--reason", "x" * 501], "--reason"),
        (["logs", "--project", "p", "--name", "x"], "--contains"),
        (["traces", "--project", "p", "--order", "-time"], "--order=-time"),
        (["logs", "--project", "p", "--follow", "--until", "1h"], "--until"),
    ],
)
def test_a_wrong_flag_is_named_and_exits_2(arguments: list[str], named: str, tmp_path: Path) -> None:
    done = spoolhouse(*arguments, env={"SPOOLHOUSE_SPOOL__STORAGE_PATH": str(tmp_path)})
    assert done.returncode == 2
    assert named in done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", READ_SETTINGS)
@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"SPOOLHOUSE_SPOOL__QUIET": "-1"}, "spool.quiet: '-1' (from the environment) is not accepted"),
        ({"SPOOLHOUSE_CLICKHOUSE__URL": f"ftp://me:{SECRET}@host"}, "clickhouse.url: "),
        ({"SPOOLHOUSE_SPOOL__QUITE": "1"}, "SPOOLHOUSE_SPOOL__QUITE: no such setting"),
        ({"SPOOLHOUSE_CONFIG": "/nowhere/x.toml"}, "/nowhere/x.toml: "),
    ],
)
def test_a_wrong_setting_is_named_and_exits_78(
    command: str, env: dict[str, str], expected: str, tmp_path: Path
) -> None:
    done = spoolhouse(command, *NEEDED.get(command, []), env={"SPOOLHOUSE_SPOOL__STORAGE_PATH": str(tmp_path), **env})
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"spoolhouse: {expected}")
    assert SECRET not in line
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_of_the_file_exits_78(tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text("[spool]\nquite = 1\n")
    done = spoolhouse("ingest", "--config", config)
    assert done.returncode == 78
    assert done.stderr == (f"spoolhouse: spool.quite: no such setting (from {config}); did you mean spool.quiet?\n")


def test_ingest_needs_a_spool() -> None:
    done = spoolhouse("ingest")
    assert done.returncode == 78
    assert "spool.storage_path: not given" in done.stderr
    assert "--file-storage-path" in done.stderr


IN_A_SPOOL = (["status"], ["pause"], ["resume"], ["release"], ["retry", "--all"], ["replay", "--rejected"],
              ["replay", "a.jsonl"], ["verify", "a.jsonl"], ["verify", "--since", "1h"])  # fmt: skip
"""What is done in a spool that has to be there."""


@pytest.mark.parametrize("arguments", IN_A_SPOOL, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "said"),
    [("none", "no such folder; set spool.storage_path"), ("file", "no folder; set spool.storage_path")],
)
def test_a_spool_that_is_none_is_said_and_not_made(arguments: list[str], name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    env = {"SPOOLHOUSE_SPOOL__STORAGE_PATH": name, "SPOOLHOUSE_SPOOL__BASE_PATH": ""}
    done = spoolhouse(*arguments, env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith(f"spoolhouse: {tmp_path}/{name}: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("arguments", IN_A_SPOOL, ids=" ".join)
def test_a_spool_that_may_not_be_read_is_said(arguments: list[str], tmp_path: Path) -> None:
    tmp_path.chmod(0)
    obeying = [sys.executable, "-c", _OBEY_PERMISSIONS, str(SCRIPT), *arguments]
    env = {**os.environ, "SPOOLHOUSE_SPOOL__STORAGE_PATH": str(tmp_path), "SPOOLHOUSE_SPOOL__BASE_PATH": ""}
    done = subprocess.run(obeying, capture_output=True, text=True, check=False, timeout=60, env=env)
    tmp_path.chmod(0o700)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        f"spoolhouse: {tmp_path}: not readable by this user; run it as the daemon's user, or as root\n"
    )


def test_the_longest_reason_is_told_as_it_was_given(tmp_path: Path) -> None:
    """Whatever it takes to write it down."""
    spool = ("--file-storage-path", tmp_path, "--base-path", "")
    assert spoolhouse("pause", "--reason", "\U0001f600" * 500, *spool).returncode == 0
    assert "\U0001f600" * 500 in anew("pause", *spool, env={"PYTHONIOENCODING": "utf-8"}).stderr


def test_a_password_by_flag_is_warned_of_and_not_shown(tmp_path: Path) -> None:
    flags = ("--once", "--file-storage-path", tmp_path / "none", "--clickhouse-url", "http://127.0.0.1:9")
    done = spoolhouse("ingest", *flags, "--clickhouse-password", SECRET)
    first = json.loads(done.stderr.splitlines()[0])
    assert (first["level"], first["event"]) == ("warning", "password_on_command_line")
    assert SECRET not in done.stderr


class TestUnavailable:
    @pytest.mark.parametrize("command", ["tables", "migrate"])
    @pytest.mark.parametrize("url", ["http://127.0.0.1:9", "clickhouse://127.0.0.1:9"])
    def test_exits_69_with_one_line(self, command: str, url: str) -> None:
        done = spoolhouse(command, "--clickhouse-url", url)
        assert done.returncode == 69
        assert done.stdout == ""
        assert done.stderr.startswith("spoolhouse: ")
        assert done.stderr.count("\n") == 1


class TestGenerate:
    def files(self, folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jsonl")}

    def test_is_deterministic_by_seed(self, tmp_path: Path) -> None:
        flags = ("generate", "--rows", "500", "--files", "12", "--now", "2026-01-31T12:00:00Z")
        for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
            done = spoolhouse(*flags, "--seed", seed, "--file-storage-path", tmp_path / name)
            assert (done.returncode, done.stderr) == (0, "")
        first, same, other = (self.files(tmp_path / name) for name in "abc")
        assert first == same
        assert first.keys().isdisjoint(other)

    def test_writes_as_many_as_it_was_told(self, tmp_path: Path) -> None:
        flags = ("--rows", "1003", "--files", "31", "--projects", "2", "--shape", "mixed", "--seed", "1")
        done = spoolhouse("generate", *flags, "--file-storage-path", tmp_path, "--base-path", "")
        files = self.files(tmp_path)
        assert len(files) == 31
        assert sum(content.count(b"\n") for content in files.values()) == 1003
        assert {name.split("/")[0] for name in files} == set(PER_TRACE)
        assert {name.split("/")[1] for name in files} == {"project-1", "project-2"}
        assert done.stdout.startswith(f"wrote 1,003 events in 31 files below {tmp_path}, --seed 1\n")
        assert list(tmp_path.rglob(".*")) == []

    def test_goes_on_with_files_of_several_traces(self, tmp_path: Path) -> None:
        """So many that a file of each type comes about every five seconds, however often there is a trace."""
        flags = ("--rows", "1", "--files", "1", "--types", "trace", "--every", "0.05", "--seed", "1")
        live = [str(SCRIPT), "generate", *flags, "--file-storage-path", str(tmp_path), "--base-path", ""]
        with subprocess.Popen(live, stdout=subprocess.DEVNULL) as writing:
            wait_until(lambda: len(self.files(tmp_path)) == 2)
            first, more = sorted(self.files(tmp_path).values(), key=len)
            writing.terminate()
        assert (first.count(b"\n"), more.count(b"\n")) == (1, 100)

    def test_keeps_to_the_types_it_was_told(self, tmp_path: Path) -> None:
        spoolhouse("generate", "--rows", "90", "--files", "4", "--types", "log,score", "--file-storage-path", tmp_path)
        names = self.files(tmp_path / "observability")
        assert {name.split("/")[0] for name in names} == {"log", "score"}

    def test_keeps_to_its_rate(self, tmp_path: Path) -> None:
        started = time.monotonic()
        flags = ("--rows", "400", "--files", "20", "--rate", "800")
        assert spoolhouse("generate", *flags, "--file-storage-path", tmp_path).returncode == 0
        assert time.monotonic() - started >= 0.5

    def test_says_what_is_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "observability").write_text("a file")
        done = spoolhouse("generate", "--file-storage-path", tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(f"spoolhouse: {tmp_path}/observability")
        assert done.stderr.count("\n") == 1


class TestMigrate:
    def test_prints_the_schema_without_a_server(self) -> None:
        done = spoolhouse("migrate", "--print", env={"SPOOLHOUSE_CLICKHOUSE__TABLE_PREFIX": "my_"})
        assert (done.returncode, done.stderr) == (0, "")
        assert "CREATE TABLE IF NOT EXISTS `my_spans`" in done.stdout

    @pytest.mark.parametrize("protocol", ["native", "http"])
    def test_brings_a_database_up_to_date_and_tells_drift(self, database: Database, protocol: str) -> None:
        env = {"SPOOLHOUSE_CLICKHOUSE__URL": database.native_url if protocol == "native" else database.http_url}
        checked = spoolhouse("migrate", "--check", env=env)
        assert checked.returncode == 1
        assert "mastra_admin_logs\n  + table\n" in checked.stdout
        assert "left to do: run `spoolhouse migrate`" in checked.stderr
        planned = spoolhouse("migrate", "--plan", env=env)
        assert planned.returncode == 0
        assert "\nCREATE TABLE IF NOT EXISTS" in planned.stdout
        assert database.query("SHOW TABLES") == []
        applied = spoolhouse("migrate", env=env)
        assert (applied.returncode, applied.stderr) == (0, f"{database.name} agrees with the declared schema.\n")
        assert "done: mastra_admin_logs: + table\n" in applied.stdout
        assert spoolhouse("migrate", "--check", env=env).returncode == 0
        planned = spoolhouse("migrate", "--plan", env=env)
        assert (planned.stdout, planned.stderr) == ("", "nothing to do\n")
        database.query("ALTER TABLE mastra_admin_logs MODIFY COLUMN message Nullable(String)")
        drifted = spoolhouse("migrate", "--check", env=env)
        assert drifted.returncode == 1
        assert drifted.stdout.startswith(
            "mastra_admin_logs\n  ! column message is Nullable(String), declared String\n      refused: ALTER TABLE "
        )
        assert drifted.stderr.endswith(": 1 refused: only a person may settle it\n")
        assert spoolhouse("migrate", env=env).returncode == 1
        script = spoolhouse("migrate", "--plan", env=env).stdout
        assert [line for line in script.splitlines() if line and not line.startswith("--")] == []

    def test_shows_what_differs_and_what_will_be_done(self, database: Database) -> None:
        env = {"SPOOLHOUSE_CLICKHOUSE__URL": database.native_url}
        spoolhouse("migrate", env=env)
        for statement in (
            "ALTER TABLE mastra_admin_logs DROP COLUMN attributes",
            "ALTER TABLE mastra_admin_logs DROP INDEX idx_span_id",
            "ALTER TABLE mastra_admin_logs MODIFY TTL toDateTime(timestamp) + INTERVAL 5 DAY",
            "ALTER TABLE mastra_admin_spans MODIFY COLUMN events REMOVE CODEC",
            "ALTER TABLE mastra_admin_spans MODIFY SETTING non_replicated_deduplication_window = 7",
            "DROP VIEW mastra_admin_scores_hourly_stats",
        ):
            database.query(statement)
        assert spoolhouse("migrate", "--check", env=env).stdout.splitlines() == [
            "mastra_admin_spans",
            "  + codec ZSTD(1) of column events",
            "  ~ setting non_replicated_deduplication_window 10000, was 7",
            "mastra_admin_logs",
            "  + column attributes String",
            "  + index idx_span_id: bloom_filter(0.01) of span_id",
            "  ~ TTL 30 days after timestamp, was 5",
            "mastra_admin_scores_hourly_stats",
            "  + view",
        ]
        done = spoolhouse("migrate", env=env)
        assert done.returncode == 0
        assert "done: mastra_admin_logs: ~ TTL 30 days after timestamp, was 5\n" in done.stdout

    def test_creates_the_database_too(self, database: Database) -> None:
        database.drop()
        done = spoolhouse("migrate", "--clickhouse-url", database.http_url)
        assert done.returncode == 0
        assert done.stdout.startswith(f"done: {database.name}: + database\n")


class TestTables:
    def test_lists_what_is_there(self, database: Database) -> None:
        env = {"SPOOLHOUSE_CLICKHOUSE__URL": database.native_url}
        missing = spoolhouse("tables", env=env)
        assert missing.returncode == 0
        assert ["mastra_admin_spans", "missing", "-", "-", "-", "-"] in [
            row.split() for row in missing.stdout.splitlines()
        ]
        assert "spoolhouse migrate" in missing.stderr
        spoolhouse("migrate", env=env)
        # Of late: a TTL deletes what is old as soon as it comes.
        day = datetime.now(UTC).date() - timedelta(days=2)
        database.query(
            "INSERT INTO mastra_admin_logs (id, project_id, level, message, timestamp) VALUES"
            f" ('1', 'p', 'info', 'm', '{day} 03:04:05.678'), ('2', 'p', 'info', 'm', '{day} 04:05:06.789')"
        )
        done = spoolhouse("tables", "--json", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        rows = {row["table"]: row for row in json.loads(done.stdout)}
        assert {"id", "message", "extra"} <= set(rows["mastra_admin_logs"].pop("columns"))
        assert rows["mastra_admin_logs"] == {
            "table": "mastra_admin_logs",
            "engine": "ReplacingMergeTree",
            "rows": 2,
            "bytes_on_disk": rows["mastra_admin_logs"]["bytes_on_disk"],
            "oldest": f"{day} 03:04:05.678",
            "newest": f"{day} 04:05:06.789",
        }
        assert rows["mastra_admin_logs"]["bytes_on_disk"] > 0
        assert rows["mastra_admin_logs_hourly"]["oldest"] == f"{day} 03:00:00"
        assert rows["mastra_admin_spans"]["rows"] == 0
        assert rows["mastra_admin_spans"]["newest"] is None
        assert rows["mastra_admin_spans_hourly_stats"]["engine"] == "View"
        listed = spoolhouse("tables", env=env).stdout
        assert listed.splitlines()[0].split() == ["table", "engine", "rows", "on", "disk", "oldest", "newest"]


def test_a_closed_pipe_is_no_crash() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = anew("migrate", "--print", stdout=writer)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""


def test_closed_streams_are_no_crash(tmp_path: Path) -> None:
    """What is opened next must not take their place: a table would be written into it."""
    script = f"{SCRIPT} types --json <&- >&- 2>&-; echo $? > {tmp_path / 'code'}"
    subprocess.run(["bash", "-c", script], check=True, timeout=60)
    assert (tmp_path / "code").read_text() == "0\n"


def test_an_interruption_before_anything_runs_is_quiet(tmp_path: Path) -> None:
    flags = ("--rows", "100000", "--files", "5", "--rate", "1000", "--file-storage-path", str(tmp_path))
    # A shell that runs tests in the background has its children ignore SIGINT.
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    start += "from spoolhouse.__main__ import run; run()"
    with subprocess.Popen(
        [sys.executable, "-c", start, "generate", *flags],
        env={**os.environ, "SPOOLHOUSE_CONFIG": ""},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        while not list(tmp_path.rglob(".*.draft")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == b""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
