"""`spoolhouse check` as a person or a script runs it: what it prints, and its exit code."""

import json
import subprocess
import sys
from pathlib import Path

from tests.engine import Database
from tests.process.daemon import _OBEY_PERMISSIONS, SCRIPT, command


def check(url: str, spool: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    return command("check", "--clickhouse-url", url, "--file-storage-path", str(spool), "--base-path", "", *flags)


def test_nothing_is_wrong(database: Database, tmp_path: Path) -> None:
    done = check(database.native_url, tmp_path)
    assert done.returncode == 0, done.stdout
    assert "\nfault" not in done.stdout
    assert done.stderr.startswith("0 faults, ")
    quiet = check(database.native_url, tmp_path, "--quiet")
    assert "good" not in quiet.stdout
    assert "fix: " in quiet.stdout


def test_json_has_what_why_and_the_hint(database: Database, tmp_path: Path) -> None:
    assert command("migrate", "--clickhouse-url", database.native_url).returncode == 0
    database.query("CREATE MATERIALIZED VIEW mine ENGINE = MergeTree ORDER BY id AS SELECT id FROM mastra_admin_logs")
    done = check(database.native_url, tmp_path, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    (fault,) = (finding for finding in report["findings"] if finding["level"] == "fault")
    assert (report["fine"], report["faults"], fault["subject"]) == (False, 1, "windows")
    assert fault["what"]
    assert fault["why"]
    assert "ALTER TABLE" in fault["hint"]
    assert report["warnings"] == sum(finding["level"] == "warning" for finding in report["findings"])


def test_the_spool_is_not_ours(database: Database, tmp_path: Path) -> None:
    """As a user without root's privileges: a spool that may only be read, then a project that may not."""
    spool = tmp_path / "spool"
    project = spool / "span" / "p"
    project.mkdir(parents=True)
    arguments = ["check", "--quiet", "--clickhouse-url", database.native_url, "--file-storage-path", str(spool)]
    unprivileged = [sys.executable, "-c", _OBEY_PERMISSIONS, str(SCRIPT), *arguments, "--base-path", ""]
    for folder, words in ((spool, "cannot be worked in"), (project, "not open to this user")):
        folder.chmod(0o500)
        done = subprocess.run(unprivileged, capture_output=True, text=True, check=False, timeout=90)
        folder.chmod(0o700)
        assert done.returncode == 1, done.stdout
        assert words in done.stdout
        assert str(folder) in done.stdout


def test_no_server_and_no_spool() -> None:
    done = command("check", "--clickhouse-url", "clickhouse://127.0.0.1:9")
    assert done.returncode == 1
    assert "spool.storage_path" in done.stdout
    assert "check clickhouse.url" in done.stdout


def test_rejected_lines_and_failed_files_are_warned_of(tmp_path: Path) -> None:
    record = b'{"file":"span/p/x.jsonl","line":1,"lines":8,"offset":0,"reason":"invalid_json","raw":"..."}\n'
    for name in ("rejected/2026-01-02/a.jsonl", "span/p/failed/b.jsonl.gz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(record)
    done = check("clickhouse://127.0.0.1:9", tmp_path, "--json")
    found = [one for one in json.loads(done.stdout)["findings"] if one["subject"] == "left"]
    assert [(one["level"], one["what"]) for one in found] == [
        ("warning", "8 rejected lines in 1 file"),
        ("warning", "1 file in failed/"),
    ]
    assert "spoolhouse replay --rejected --dry-run" in found[0]["hint"]
    assert "spoolhouse retry --all --dry-run" in found[1]["hint"]


def test_what_a_name_holds_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    done = check("clickhouse://127.0.0.1:9", tmp_path / "a\x1b[31mb\nfault")
    assert "\x1b" not in done.stdout
    assert "\nfault does not exist" not in done.stdout
