"""An upgrade with daemons of two versions at once: a type gets a column, and its rollup a key, while both insert.

The next version is another folder of declarations, which is all that tells it from the one before: what `migrate` makes
of the difference, and what daemons do meanwhile, is the same for the declarations that come with Spoolhouse.
"""

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from spoolhouse.failpoints import VARIABLE
from tests.engine import Database
from tests.process.daemon import Daemon, command, drop, lines, once
from tests.process.inputs import NOW

TABLE = "mastra_admin_builds"
ROLLUP = f"{TABLE}_hourly_stats"
OLD = """
type = "build"
table = "builds"
time = "finished_at"
key = ["project_id", "finished_at", "id"]
ttl_days = 90
[[columns]]
name = "id"
type = "String"
required = true
[[columns]]
name = "project_id"
type = "String"
path = "projectId"
required = true
[[columns]]
name = "finished_at"
type = "DateTime64(3)"
path = "finishedAt"
required = true
[rollup]
name = "builds_hourly_stats"
keys = ["project_id"]
"""
NEW = OLD.replace(
    "[rollup]",
    '[[columns]]\nname = "region"\ntype = "String"\n'
    '[[columns]]\nname = "took_ms"\ntype = "Nullable(Float64)"\n[rollup]',
).replace('keys = ["project_id"]\n', 'keys = ["project_id", "region"]\nmeasure = "took_ms"\nversion = 2\n')
QUICK = {"SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.2", "SPOOLHOUSE_ADOPT__INTERVAL": "0.2"}


@pytest.fixture(name="versions")
def versions_(tmp_path: Path) -> Mapping[str, Mapping[str, str]]:
    """Return the environment of each version's daemons."""
    found = {}
    for name, content in (("old", OLD), ("new", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "build.toml").write_text(content)
        found[name] = {"SPOOLHOUSE_EVENTS__FOLDER": str(tmp_path / name), **QUICK}
    return found


class Builds:
    """The events that were dropped."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._files = 0
        self.regions: list[str] = []

    def drop(self, count: int = 10) -> str:
        """Drop a file of events of the next version; return its place."""
        self._files += 1
        first = len(self.regions)
        events = [
            {
                "type": "build",
                "id": f"b{number:04}",
                "projectId": "p",
                "finishedAt": NOW.isoformat(),
                "took_ms": 2.5,
                "region": "eu",
            }
            for number in range(first, first + count)
        ]
        self.regions += ["eu"] * count
        return str(drop(self._spool, "build", "p", f"{self._files}.jsonl", lines(events)).relative_to(self._spool))


def rows(database: Database) -> tuple[object, ...]:
    return database.query(f"SELECT count(), uniqExact(id) FROM {TABLE}")[0]


def counted(database: Database) -> object:
    return database.query(f"SELECT sum(count) FROM {ROLLUP}")[0][0]


def regions(database: Database) -> list[tuple[object, ...]]:
    """Return the region of each event, wherever its version keeps it."""
    extra = "if(region = '', JSONExtractString(extra, 'region'), region)"
    return database.query(f"SELECT {extra} AS found, count() FROM {TABLE} GROUP BY found")


def expect(database: Database, builds: Builds) -> None:
    """Fail unless each line has landed once, is counted once, and nothing of it is lost."""
    total = len(builds.regions)
    assert rows(database) == (total, total)
    assert counted(database) == total
    assert regions(database) == [("eu", total)]
    by_region = dict(database.query(f"SELECT region, sum(count) FROM {ROLLUP} GROUP BY region"))
    assert by_region == dict(database.query(f"SELECT region, count() FROM {TABLE} GROUP BY region"))


def migrate(database: Database, env: Mapping[str, str], *flags: str, code: int = 0) -> str:
    done = command("migrate", *flags, "--clickhouse-url", database.native_url, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def feeds(database: Database) -> set[object]:
    return {name for (name,) in database.query("SHOW TABLES LIKE '%builds%feed'")}


def test_both_versions_insert_while_the_schema_changes(
    database: Database, tmp_path: Path, versions: Mapping[str, Mapping[str, str]]
) -> None:
    spool = tmp_path / "spool"
    builds = Builds(spool)
    with Daemon(database.native_url, spool, env=versions["old"]) as old:
        for _ in range(3):
            old.wait_for("file_settled", path=builds.drop())
        assert "column region" in migrate(database, versions["new"], "--plan", code=0)
        migrate(database, versions["new"])
        migrate(database, versions["new"], "--check")
        old.wait_for("file_settled", path=builds.drop())
        with Daemon(database.native_url, spool, env=versions["new"]) as new:
            new.wait_for("started")
            for number in range(12):
                builds.drop(3)
                if number == 6:
                    old.kill()
            new.wait_for("adopted")
            new.signal(signal.SIGTERM)
            assert new.wait() == 0, new.told()
    assert once(database.native_url, spool, env=versions["new"])[0] == 0
    expect(database, builds)
    ((by_new,),) = database.query(f"SELECT countIf(region = 'eu' AND took_ms = 2.5) FROM {TABLE}")
    assert by_new > 0
    migrate(database, versions["new"], "--check")


def test_an_old_daemon_that_starts_after_the_migration_changes_nothing_back(
    database: Database, tmp_path: Path, versions: Mapping[str, Mapping[str, str]]
) -> None:
    """Its rollup is an earlier version: the views stay as they are, and what it lands is counted in the newer one."""
    spool = tmp_path / "spool"
    builds = Builds(spool)
    for version in ("old", "new", "old"):
        builds.drop()
        code, daemon = once(database.native_url, spool, env=versions[version])
        assert code == 0, daemon.told()
        if version != "old" or len(builds.regions) > 10:
            expect(database, builds)
            assert feeds(database) == {f"{TABLE}_hourly_v2_feed"}
            migrate(database, versions["new"], "--check")
            migrate(database, versions["old"], "--check")
    ((landed_by_old,),) = database.query(f"SELECT countIf(region = '') FROM {TABLE}")
    assert landed_by_old == 20


@pytest.mark.parametrize("place", ["insert.before_send", "insert.answered", "settle.complete"])
@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")], ids=" then ".join)
def test_a_shipment_of_the_other_version_is_taken_over(
    database: Database,
    tmp_path: Path,
    versions: Mapping[str, Mapping[str, str]],
    place: str,
    order: tuple[str, str],
) -> None:
    spool = tmp_path / "spool"
    builds = Builds(spool)
    builds.drop()
    assert once(database.native_url, spool, env=versions["old"])[0] == 0
    migrate(database, versions["new"])
    builds.drop()
    with Daemon(database.native_url, spool, env={**versions[order[0]], VARIABLE: f"{place}=kill"}) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    code, daemon = once(database.native_url, spool, env=versions[order[1]])
    assert code == 0, daemon.told()
    expect(database, builds)


def test_a_new_daemon_that_may_not_migrate_waits_until_somebody_does(
    database: Database, tmp_path: Path, versions: Mapping[str, Mapping[str, str]]
) -> None:
    spool = tmp_path / "spool"
    builds = Builds(spool)
    builds.drop()
    assert once(database.native_url, spool, env=versions["old"])[0] == 0
    place = builds.drop()
    env = {**versions["new"], "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "false"}
    with Daemon(database.native_url, spool, env=env) as daemon:
        (held, *_) = daemon.wait_for("table_held", scope=TABLE)
        assert "migrate" in str(held["hint"])
        assert rows(database) == (10, 10)
        migrate(database, versions["new"])
        daemon.wait_for("file_settled", path=place)
    expect(database, builds)
