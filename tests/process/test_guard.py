"""A table that is not safe to insert into, or not what is declared, is held, alone, and for as long as it is so."""

from pathlib import Path

from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines
from tests.process.inputs import NOW, good

LOG = {"type": "log", "id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}
TARGET = "CREATE TABLE theirs (id String) ENGINE = MergeTree ORDER BY id"
VIEW = "CREATE MATERIALIZED VIEW their_view TO theirs AS SELECT id FROM mastra_admin_logs"
WINDOW = "ALTER TABLE theirs MODIFY SETTING non_replicated_deduplication_window = 10000"
SCOPE = "mastra_admin_logs"


def test_held_alone_and_looked_at_again(database: Database, tmp_path: Path) -> None:
    command("migrate", env={"SPOOLHOUSE_CLICKHOUSE__URL": database.native_url})
    database.query(TARGET)
    database.query(VIEW)
    log = drop(tmp_path, "log", "p", "a.jsonl", lines([LOG]))
    drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    with Daemon(database.native_url, tmp_path, env={"SPOOLHOUSE_RETRY__CAP": "0.3"}) as daemon:
        daemon.wait_for("file_settled", path="span/p/a.jsonl")
        (said,) = daemon.events("table_held")
        assert said["scope"] == SCOPE
        assert f"{database.name}.theirs" in str(said["error"])
        assert log.exists()
        database.query(WINDOW)
        daemon.wait_for("table_released", scope=SCOPE)
        daemon.wait_for("file_settled", path="log/p/a.jsonl")
        database.query("ALTER TABLE theirs RESET SETTING non_replicated_deduplication_window")
        daemon.wait_for("table_held", count=2, scope=SCOPE)
    assert database.query("SELECT id FROM theirs") == [("l",)]


def test_a_table_that_differs_is_held_alone_until_it_is_fixed(database: Database, tmp_path: Path) -> None:
    command("migrate", env={"SPOOLHOUSE_CLICKHOUSE__URL": database.native_url})
    database.query("ALTER TABLE mastra_admin_logs MODIFY COLUMN message Nullable(String)")
    database.query("DROP VIEW mastra_admin_spans_hourly_stats")
    database.query("CREATE TABLE mastra_admin_spans_hourly_stats (id String) ENGINE = Log")
    log = drop(tmp_path, "log", "p", "a.jsonl", lines([LOG]))
    drop(tmp_path, "span", "p", "a.jsonl", good("p"))
    with Daemon(database.http_url, tmp_path, env={"SPOOLHOUSE_RETRY__CAP": "0.3"}) as daemon:
        daemon.wait_for("file_settled", path="span/p/a.jsonl")
        assert daemon.events("view_differs", view="mastra_admin_spans_hourly_stats")
        (said,) = daemon.events("table_held")
        assert said["scope"] == SCOPE
        assert "column message is Nullable(String), declared String" in str(said["error"])
        assert log.exists()
        database.query("ALTER TABLE mastra_admin_logs MODIFY COLUMN message String DEFAULT ''")
        daemon.wait_for("file_settled", path="log/p/a.jsonl")
        assert daemon.events("table_released", scope=SCOPE)
