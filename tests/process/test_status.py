"""`spoolhouse status` beside a daemon that runs, waits, is frozen, or is gone."""

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engine import Database, StartServer
from tests.process.daemon import _OBEY_PERMISSIONS, SCRIPT, Daemon, as_from_a_terminal, command, drop, once
from tests.process.inputs import good

BAD = b'{"type":"span"}\n'


def report(spool: Path, *, code: int) -> dict[str, object]:
    """Return what `spoolhouse status --json` prints, after a look at its exit code."""
    done = command("status", "--json", "--file-storage-path", str(spool), "--base-path", "")
    assert done.returncode == code, done.stderr + done.stdout
    told: dict[str, object] = json.loads(done.stdout)
    return told


def text(spool: Path) -> str:
    return command("status", "--file-storage-path", str(spool), "--base-path", "").stdout


def only(told: dict[str, object]) -> dict[str, object]:
    """Return the one instance of a report."""
    assert isinstance(told["instances"], list)
    [instance] = told["instances"]
    assert isinstance(instance, dict)
    return instance


def test_a_daemon_that_works(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        drop(tmp_path, "span", "p", "a.jsonl", good("p", 3) + BAD)
        daemon.wait_for("file_settled")
        told = report(tmp_path, code=0)
        one = only(told)
        assert (one["state"], one["pid"], one["why"]) == ("running", daemon.pid, None)
        assert told["pending"] == {"files": 0, "bytes": 0}
        assert isinstance(told["ends"], dict)
        assert told["ends"]["rejected_lines"] == 1
        seen = text(tmp_path)
        assert "running" in seen
        assert "span" in seen
        assert "missing_field 1" in seen
        url = str(daemon.wait_for("http_listening")[0]["url"])
        asked = command("status", "--url", url)
        assert asked.returncode == 0
        assert "running" in asked.stdout


def test_without_a_path_the_daemon_of_this_machine_is_asked(database: Database, tmp_path: Path) -> None:
    """Where it listens by the settings; and where none answers, both ways to name one are said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = {"SPOOLHOUSE_HTTP__LISTEN": f"127.0.0.1:{free.getsockname()[1]}"}
    with Daemon(database.http_url, tmp_path, env=listen) as daemon:
        daemon.wait_for("started")
        done = command("status", "--json", env=listen)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["spool"], only(told)["pid"]) == (str(tmp_path), daemon.pid)
        assert "running" in command("status", env=listen).stdout
    for env in (listen, {"SPOOLHOUSE_HTTP__LISTEN": "off"}):
        nobody = command("status", env=env)
        assert (nobody.returncode, nobody.stdout) == (78, "")
        assert "--file-storage-path" in nobody.stderr
        assert ("no daemon answers" in nobody.stderr) == (env is listen)


def test_a_daemon_that_waits_for_clickhouse(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.kill()
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
    with Daemon(server.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("clickhouse_unavailable")
        told = report(tmp_path, code=1)
        assert only(told)["state"] == "waiting"
        assert told["pending"] == {"files": 1, "bytes": len(good("p", 3))}
        assert "pending   1 file" in text(tmp_path)


def test_a_frozen_process_that_keeps_its_lock_is_named(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("started")
        daemon.signal(signal.SIGSTOP)
        try:
            one = only(report(tmp_path, code=1))
            assert (one["state"], one["pid"]) == ("stopped", daemon.pid)
            assert f"process {daemon.pid} is frozen by a signal" in text(tmp_path)
        finally:
            daemon.signal(signal.SIGCONT)


def test_the_folders_alone_tell_of_a_dead_daemon(database: Database, tmp_path: Path) -> None:
    """Killed with a claimed file; beside it pending, rejected and failed ones, and what nobody takes."""
    env = {"SPOOLHOUSE_TEST_FAILPOINTS": "insert.before_send=kill"}
    with Daemon(database.http_url, tmp_path, env=env, http="any port") as daemon:
        drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
        daemon.wait()
    drop(tmp_path, "span", "p", "b.jsonl", good("p", 5))
    record = b'{"file":"span/p/x.jsonl","line":1,"lines":8,"offset":0,"reason":"invalid_json","raw":"..."}\n'
    found = {
        "span/p/failed/c.jsonl.gz": b"1",
        "span/p/failed/c.reason.txt": b"1",
        "rejected/d/e.jsonl": record,
        "rejected/d/foreign.jsonl": b"[]\n",
        "rejected/d/.f.jsonl.tmp": record,
        "rejected/.replay/e.1/span/p/e.jsonl": b"...\n",
    }
    for name, content in found.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "nonsense").mkdir()
    told = report(tmp_path, code=1)
    one = only(told)
    assert (one["state"], one["version"], one["backlog"]) == ("gone", None, None)
    assert one["claimed"] == {"files": 1, "bytes": len(good("p", 3))}
    assert told["pending"] == {"files": 1, "bytes": len(good("p", 5))}
    assert told["ends"] == {
        "failed": {"files": 1, "bytes": 1},
        "rejected": {"files": 2, "bytes": len(record) + 3},
        "rejected_lines": 8,
        "unlisted": [],
    }
    assert told["not_taken"] == [f"{tmp_path}/nonsense: no such event type"]
    seen = text(tmp_path)
    assert "rejected/ has each line and its reason; after a fix: `spoolhouse replay --rejected --dry-run`" in seen
    assert "failed/ has the reason beside each file; after a repair: `spoolhouse retry --all --dry-run`" in seen
    assert "claimed    1 file" in seen
    assert "the next daemon that starts takes its work over" in seen


def test_after_a_restart_the_former_instance_needs_nobody(tmp_path: Path) -> None:
    """It ended with nothing left to do; then its successor holds its folder, and is not taken for it."""
    spool, store = tmp_path / "spool", f"duckdb://{tmp_path}/events.db"
    env = {"SPOOLHOUSE_SPOOL__APPEND_WATCH": "3600"}
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    assert once(store, spool, env=env)[0] == 0
    former = only(report(spool, code=1))
    assert (former["state"], former["why"]) == ("ended", "its process has ended, and left nothing to do")
    assert "No daemon works on it: start `spoolhouse ingest`." in text(spool)
    with Daemon(store, spool, env=env, http="any port") as daemon:
        daemon.wait_for("adopted")
        own = str(daemon.events("started")[0]["instance"])
        [address] = (spool / ".spoolhouse" / str(former["instance"])).glob("address.json")
        same = {"url": None, "pid": daemon.pid, "host": socket.gethostname()}
        for told in (address.read_text(), json.dumps(same), ""):  # of one container after another, and of a full disk
            address.write_text(told)
            seen = states(report(spool, code=0))
            adopted = ("adopted", f"taken over by process {daemon.pid}")
            assert seen == {str(former["instance"]): adopted, own: ("running", None)}
        checked = command("check", "--store-url", store, "--file-storage-path", str(spool), "--base-path", "").stdout
        assert str(former["instance"]) not in checked
        assert f"{own}: running" in checked
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    assert {state for state, _ in states(report(spool, code=1)).values()} == {"ended"}


def states(told: dict[str, object]) -> dict[str, tuple[str, str | None]]:
    """Return the state of each instance of a report, and why."""
    assert isinstance(told["instances"], list)
    return {one["instance"]: (one["state"], one["why"]) for one in told["instances"]}


def test_another_user_s_lock_is_not_taken_for_a_dead_one(database: Database, tmp_path: Path) -> None:
    """Who may not open it sees in the kernel's list that it is held; of one that nobody holds, nothing is claimed."""
    arguments = ["status", "--json", "--file-storage-path", str(tmp_path), "--base-path", ""]

    def seen() -> object:
        obeying = [sys.executable, "-c", _OBEY_PERMISSIONS, str(SCRIPT), *arguments]
        return only(json.loads(subprocess.run(obeying, capture_output=True, check=False, timeout=60).stdout))["state"]

    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("started")
        [lock] = tmp_path.glob(".spoolhouse/*/lock")
        lock.chmod(0)
        assert seen() == "running"
        daemon.kill()
    assert seen() == "unknown"


def test_an_empty_spool_and_no_daemon(tmp_path: Path) -> None:
    told = report(tmp_path, code=1)
    assert (told["instances"], told["pending"]) == ([], {"files": 0, "bytes": 0})
    assert "start `spoolhouse ingest`" in text(tmp_path)
    assert list(tmp_path.iterdir()) == [], "looking leaves nothing behind"


def test_http_off_is_said(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, env={"SPOOLHOUSE_HTTP__LISTEN": "off"}, http="any port") as daemon:
        daemon.wait_for("started")
        one = only(report(tmp_path, code=0))
        assert one["state"] == "running"
        assert "http.listen" in str(one["why"])


@pytest.mark.parametrize("url", ["127.0.0.1:9464", "https://x", "http://", "file:///etc/passwd"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    done = command("status", "--url", url)
    assert done.returncode == 2
    assert "http://127.0.0.1:9464" in done.stderr


def test_the_live_view_moves_until_ctrl_c(database: Database, tmp_path: Path) -> None:
    """On a terminal: what happens while it is shown is shown, hostile names included, and Ctrl-C ends it."""
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("started")
        ours, theirs = pty.openpty()
        arguments = ["status", "--watch", "--interval", "0.1", "--file-storage-path", str(tmp_path), "--base-path", ""]
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "150", "LINES": "60"}
        command = as_from_a_terminal(SCRIPT, *arguments)
        watching = subprocess.Popen(command, stdin=theirs, stdout=theirs, env=env)
        os.close(theirs)
        try:
            shown = read_until(ours, b"running")
            drop(tmp_path, "span", "p", "[red]\x1b[31m.jsonl", good("p", 3) + BAD)
            shown += read_until(ours, b"last rejected lines")
            assert rb"[red]\x1b[31m.jsonl" in shown, "a name is no markup, and moves no cursor"
            watching.send_signal(signal.SIGINT)
            with pytest.raises(OSError, match="Input/output error"):
                # A terminal that nobody reads any more would fill up, and hold the last word back.
                read_until(ours, b"never shown")
            assert watching.wait(30) == 0
        finally:
            watching.kill()
            watching.wait()
            os.close(ours)


def read_until(descriptor: int, text: bytes) -> bytes:
    """Return what a terminal shows up to some text; fail after half a minute."""
    shown = b""
    deadline = time.monotonic() + 30
    while text not in shown:
        assert select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0], shown[-3000:]
        shown += os.read(descriptor, 65536)
    return shown


def test_a_stage_that_hangs_is_named_until_it_gets_on(database: Database, tmp_path: Path) -> None:
    """A disk that hangs while a file is moved: /livez and `status` name the stage, and are content again after it."""
    hang = tmp_path / "hang"
    env = {"SPOOLHOUSE_TEST_STUCK_AFTER": "1", "SPOOLHOUSE_TEST_FAILPOINTS": f"settle.before_move=wait:{hang}"}
    spool = tmp_path / "spool"
    with Daemon(database.http_url, spool, env=env, http="any port") as daemon:
        drop(spool, "span", "p", "a.jsonl", good("p", 3))
        while daemon.get("/livez").code == 200:
            assert not daemon.events("file_settled")
        assert "settle" in json.loads(daemon.get("/livez").body)["stuck"]
        one = only(report(spool, code=1))
        assert one["state"] == "stuck"
        assert "settle for" in str(one["why"])
        hang.unlink()
        daemon.wait_for("file_settled")
        assert daemon.get("/livez").code == 200
        assert only(report(spool, code=0))["state"] == "running"


def test_a_pause_is_told_everywhere(database: Database, tmp_path: Path) -> None:
    """Also where no daemon runs; ClickHouse is no worse for it, so that it is still ready."""
    arguments = ("--file-storage-path", str(tmp_path), "--base-path", "")
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("started")
        assert command("pause", "--reason", "a backup", *arguments).returncode == 0
        daemon.wait_for("paused")
        ready = daemon.get("/readyz")
        assert (ready.code, json.loads(ready.body)["state"]) == (200, "paused")
        assert b"\nspoolhouse_paused 1.0\n" in daemon.get("/metrics").body
        one = only(report(tmp_path, code=1))
        assert one["state"] == "paused"
        assert "a backup; spoolhouse resume" in str(one["why"])
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    assert "a backup" in str(report(tmp_path, code=1)["paused"])
    assert "a backup: nothing new is claimed; spoolhouse resume ends it" in text(tmp_path)
