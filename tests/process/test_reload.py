"""SIGHUP with the real process: what can change does, the rest is named, a bad file changes nothing."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import SCRIPT, Daemon, command, drop
from tests.process.inputs import good
from tests.process.test_notify import Manager


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spoolhouse.toml"
    path.write_text("")
    return path


def test_a_reload_changes_what_can_change_and_names_the_rest(database: Database, tmp_path: Path, file: Path) -> None:
    storage = tmp_path / "spool"
    with Daemon(database.native_url, storage, "--config", str(file)) as daemon:
        daemon.wait_for("started")
        drop(storage, "span", "p", "a.jsonl", good("p", 1))
        [first] = daemon.wait_for("file_settled")
        assert first["destination"] is not None
        assert daemon.events("batch_inserted") == [], "nothing of level debug"
        file.write_text(
            '[log]\nlevel = "debug"\n[spool]\ndelete_after_process = true\nmax_line = 1_000\n[workers]\ndecoders = 1\n'
        )
        daemon.signal(signal.SIGHUP)
        [reloaded] = daemon.wait_for("reloaded")
        assert reloaded["taken"] == {"log.level": "debug", "spool.max_line": "1000"}
        [needed] = daemon.wait_for("restart_needed")
        assert needed["settings"] == ["spool.delete_after_process", "workers.decoders"]
        long = good("p", 1, first=1).replace(b'"name"', b'"' + b"x" * 1000 + b'": 1, "name"')
        drop(storage, "span", "p", "b.jsonl", long + good("p", 1, first=2))
        daemon.wait_for("batch_inserted")
        [second] = daemon.wait_for("file_settled", path="span/p/b.jsonl")
        assert second["destination"] is not None, "its rows are not synced to the server's disk yet"
        assert second["rejected"] == 1, "the line that is too long now"
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()


def test_no_file_is_deleted_before_its_rows_are_synced(database: Database, tmp_path: Path, file: Path) -> None:
    """A power loss of the server, right after the reload, would take rows whose file is gone."""
    storage = tmp_path / "spool"
    with Daemon(database.native_url, storage, "--config", str(file)) as daemon:
        daemon.wait_for("started")
        file.write_text("[spool]\ndelete_after_process = true\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("restart_needed", settings=["spool.delete_after_process"])
        drop(storage, "span", "p", "a.jsonl", good("p", 1))
        [kept] = daemon.wait_for("file_settled")
        assert kept["destination"] is not None
        assert synced_tables(database) == 0
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    with Daemon(database.native_url, storage, "--config", str(file)) as daemon:
        daemon.wait_for("started")
        assert synced_tables(database) > 0
        drop(storage, "span", "p", "b.jsonl", good("p", 1, first=1))
        [deleted] = daemon.wait_for("file_settled", path="span/p/b.jsonl")
        assert deleted["destination"] is None
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()


def synced_tables(database: Database) -> int:
    where = "database = currentDatabase() AND engine_full LIKE '%fsync_after_insert = 1%'"
    [(count,)] = database.query(f"SELECT count() FROM system.tables WHERE {where}")
    return int(count)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[batch]\nlinger = 'soon'\n[log]\nlevel = 'debug'\n", "batch.linger: 'soon'"),
        ("[spool", "not TOML"),
        ("[spool]\nquite = 1\n", "did you mean spool.quiet?"),
    ],
)
def test_a_bad_file_changes_nothing(database: Database, tmp_path: Path, file: Path, text: str, complaint: str) -> None:
    storage = tmp_path / "spool"
    with Daemon(database.native_url, storage, "--config", str(file)) as daemon:
        daemon.wait_for("started")
        file.write_text(text)
        daemon.signal(signal.SIGHUP)
        [refused] = daemon.wait_for("reload_refused")
        assert complaint in str(refused["error"])
        drop(storage, "span", "p", "a.jsonl", good("p", 1))
        daemon.wait_for("file_settled")
        assert daemon.events("reloaded") == daemon.events("batch_inserted") == []
        file.unlink()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reload_refused", count=2)
        file.write_text("")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded", taken={})


DEPLOYMENT = Path(__file__).parents[2] / "config" / "events" / "deployment.toml"


def deployment(number: int, **more: object) -> bytes:
    about = {"type": "deployment", "id": f"d{number}", "projectId": "p", "service": "cart"}
    return json.dumps({**about, "finishedAt": "2026-11-21T12:00:00Z", **more}).encode() + b"\n"


def test_an_event_type_comes_changes_and_goes_without_a_restart(database: Database, tmp_path: Path, file: Path) -> None:
    storage, folder = tmp_path / "spool", tmp_path / "events"
    folder.mkdir()
    file.write_text(f'[events]\nfolder = "{folder}"\n')
    with Daemon(database.native_url, storage, "--config", str(file)) as daemon:
        daemon.wait_for("started")
        first = drop(storage, "deployment", "p", "a.jsonl", deployment(1))
        daemon.wait_for("not_taken", reason="no such event type")
        declared = folder / "deployment.toml"
        declared.write_text(DEPLOYMENT.read_text())
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded", event_types=["deployment"])
        daemon.wait_for("file_settled", path="deployment/p/a.jsonl", rows={"deployments": 1})
        assert not first.exists()

        declared.write_text(DEPLOYMENT.read_text() + '\n[[columns]]\nname = "region"\ntype = "String"\n')
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded", count=2, event_types=["deployment"])
        drop(storage, "deployment", "p", "b.jsonl", deployment(2, region="north"))
        daemon.wait_for("file_settled", path="deployment/p/b.jsonl")

        declared.write_text("type = 7\n")
        daemon.signal(signal.SIGHUP)
        [refused] = daemon.wait_for("reload_refused")
        assert "deployment.toml: type" in str(refused["error"])
        drop(storage, "deployment", "p", "c.jsonl", deployment(3, region="south"))
        daemon.wait_for("file_settled", path="deployment/p/c.jsonl")

        declared.unlink()
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded", count=3, event_types=["deployment"])
        last = drop(storage, "deployment", "p", "d.jsonl", deployment(4))
        drop(storage, "span", "p", "e.jsonl", good("p", 1))
        daemon.wait_for("file_settled", path="span/p/e.jsonl")
        assert last.exists()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    found = database.query("SELECT id, region FROM mastra_admin_deployments ORDER BY id")
    assert found == [("d1", ""), ("d2", "north"), ("d3", "south")]


def test_a_shipment_is_read_again_by_the_declarations_that_it_was_first_read_by(
    database: Database, tmp_path: Path, file: Path
) -> None:
    """Its insert is refused, its type changes, its insert is repeated: with the rows that it had."""
    storage, folder = tmp_path / "spool", tmp_path / "events"
    folder.mkdir()
    declared = folder / "deployment.toml"
    declared.write_text(DEPLOYMENT.read_text())
    file.write_text(f'[events]\nfolder = "{folder}"\n')
    migrate = ("migrate", "--config", str(file), "--clickhouse-url", database.native_url)
    assert command(*migrate).returncode == 0
    flags = ("--config", str(file), "--no-migrate")
    with Daemon(database.native_url, storage, *flags, env={"SPOOLHOUSE_RETRY__CAP": "0.2"}) as daemon:
        daemon.wait_for("started")
        database.query("DROP TABLE mastra_admin_deployments SYNC")
        drop(storage, "deployment", "p", "a.jsonl", b"".join(deployment(n, region="north") for n in range(5000)))
        daemon.wait_for("table_held", code=60)
        # The new column comes before the others, so that rows of one edition fit no insert of the other.
        column = '[[columns]]\nname = "region"\ntype = "String"\n\n[[columns]]'
        declared.write_text(DEPLOYMENT.read_text().replace("[[columns]]", column, 1))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded", event_types=["deployment"])
        assert command(*migrate).returncode == 0, "the table is there again"
        daemon.wait_for("file_settled", path="deployment/p/a.jsonl", rejected=0)
        drop(storage, "deployment", "p", "b.jsonl", deployment(5000, region="south"))
        daemon.wait_for("file_settled", path="deployment/p/b.jsonl")
    found = database.query("SELECT region, count(), uniqExact(id) FROM mastra_admin_deployments GROUP BY 1 ORDER BY 1")
    assert found == [("", 5000, 5000), ("south", 1, 1)]


def test_a_pause_under_way_is_shortened(database: Database, tmp_path: Path, file: Path) -> None:
    """It would last half a minute at least."""
    storage, spans = tmp_path / "spool", "mastra_admin_spans"
    file.write_text("[retry]\nfirst = 300\ncap = 300\n")
    with Daemon(database.native_url, storage, "--config", str(file)) as daemon:
        drop(storage, "span", "p", "a.jsonl", good("p", 1))
        daemon.wait_for("file_settled")
        database.query(f"SYSTEM STOP MERGES {spans}")
        database.query(f"ALTER TABLE {spans} MODIFY SETTING parts_to_throw_insert = 1")
        drop(storage, "span", "p", "b.jsonl", good("p", 1, first=1))
        daemon.wait_for("clickhouse_unavailable", code=252)
        database.query(f"ALTER TABLE {spans} RESET SETTING parts_to_throw_insert")
        file.write_text("[retry]\nfirst = 0.1\ncap = 0.2\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("file_settled", path="span/p/b.jsonl")


def test_systemd_hears_of_it(database: Database, tmp_path: Path, file: Path) -> None:
    manager = Manager(tmp_path / "notify")
    try:
        with Daemon(database.native_url, tmp_path / "spool", "--config", str(file), env=manager.environment) as daemon:
            manager.wait_for("READY", "1")
            file.write_text("[batch]\nlinger = 0.1\n")
            daemon.signal(signal.SIGHUP)
            assert int(manager.wait_for("RELOADING", "1")["MONOTONIC_USEC"]) > 0
            manager.wait_for("READY", "1")
    finally:
        manager.close()


def test_a_run_with_an_end_ends_with_its_terminal(tmp_path: Path) -> None:
    """`--once` takes no reload: SIGHUP ends it, as it ends what else a closed terminal leaves behind."""
    with Daemon("clickhouse://127.0.0.1:1", tmp_path, "--once", from_a_terminal=True) as daemon:
        daemon.wait_for("clickhouse_unavailable")
        daemon.signal(signal.SIGHUP)
        assert daemon.wait() == -signal.SIGHUP


def test_waiting_for_clickhouse_it_reloads_too(tmp_path: Path, file: Path) -> None:
    with Daemon("clickhouse://127.0.0.1:1", tmp_path / "spool", "--config", str(file)) as daemon:
        daemon.wait_for("clickhouse_unavailable")
        file.write_text("[shutdown]\ngrace = 7\n")
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("reloaded", taken={"shutdown.grace": "7.0"})
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()


def test_nohup_is_a_reload_all_the_same(tmp_path: Path, file: Path) -> None:
    """A signal that the parent ignored would stay ignored: the handler is set whatever was before."""
    environment = {**os.environ, "SPOOLHOUSE_CLICKHOUSE__URL": "clickhouse://127.0.0.1:1"}
    words = [str(SCRIPT), "ingest", "--config", str(file), "--file-storage-path", str(tmp_path / "spool")]
    with subprocess.Popen(
        ["nohup", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "clickhouse_unavailable" in line:
                process.send_signal(signal.SIGHUP)
            if '"reloaded"' in line:
                break
        process.terminate()
        assert process.wait(30) == 0
