"""The doctor, on real servers and spools with real faults."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spoolhouse.doctor.finding import Finding, Level
from spoolhouse.errors import OperatorError
from spoolhouse.events.builtin import LOGS
from spoolhouse.settings import Settings
from tests.engine import Config, Database, LocalServer, StartServer, User, find_engine
from tests.integration import build

PREFIX = "mastra_admin_"
USERS = Config(
    users=(
        User(name="all", password="p"),
        User(name="reader", password="p", grants=("GRANT SELECT ON *.*",)),
        User(name="writer", password="p", grants=("GRANT SELECT, INSERT ON *.*",)),
        User(
            name="maker", password="p", grants=("GRANT SELECT, INSERT, CREATE TABLE ON *.*", "GRANT TABLE ENGINE ON *")
        ),
        User(
            name="repairer",
            password="p",
            grants=(
                "GRANT SELECT, INSERT, CREATE TABLE, DROP TABLE, ALTER DELETE ON *.*",
                "GRANT TABLE ENGINE ON *",
            ),
        ),
        User(name="readonly", password="p", profile="readonly"),
        User(name="fixed", password="p", profile="fixed"),
        User(name="poor", password="p", profile="poor"),
    ),
    profiles={
        "readonly": {"readonly": 1},
        "fixed": {"constraints/async_insert/readonly": ""},
        "poor": {"max_memory_usage": 200 << 20},
    },
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """Run a server with users of all kinds."""
    with LocalServer(find_engine(), tmp_path_factory.mktemp("guarded"), USERS) as local:
        yield local


@pytest.fixture
def of_guarded(guarded: LocalServer) -> Iterator[Database]:
    """Make an empty database on the server with users of all kinds."""
    with Database.new(guarded) as made:
        yield made


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Make a spool with one project."""
    (tmp_path / "spool" / "span" / "p").mkdir(parents=True)
    return tmp_path / "spool"


def settings_of(url: str, spool: Path, **clickhouse: object) -> Settings:
    return build.settings(url, spool, clickhouse=clickhouse)


async def prepared(database: Database, spool: Path) -> None:
    """Bring the schema of a database up to date."""
    await build.prepared(settings_of(database.native_url, spool))


def only(findings: list[Finding], level: Level) -> dict[str, Finding]:
    """Return the findings of one level by subject; one each."""
    chosen = [finding for finding in findings if finding.level is level]
    assert all(finding.why and finding.hint for finding in chosen)
    result = {finding.subject: finding for finding in chosen}
    assert len(result) == len(chosen), chosen
    return result


ENGINES = ("AggregatingMergeTree", "MergeTree", "ReplacingMergeTree")
SUBJECTS = {
    "settings", "spool", "reach", "version", "profile", "rights", "clock", "time zone", "disks", "schema", "windows",
    "parts", "probe",
}  # fmt: skip


def content(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("url", ["native_url", "http_url"])
async def test_nothing_is_wrong_and_nothing_is_left_behind(database: Database, spool: Path, url: str) -> None:
    await prepared(database, spool)
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    before, files = database.query(tables), content(spool)
    findings = await build.findings(settings_of(getattr(database, url), spool))
    assert only(findings, Level.FAULT) == {}
    assert {finding.subject for finding in findings} == SUBJECTS
    assert (database.query(tables), content(spool)) == (before, files)


async def test_a_new_installation_is_no_fault(database: Database, tmp_path: Path) -> None:
    database.drop()
    findings = await build.findings(settings_of(database.native_url, tmp_path / "not" / "there"))
    assert only(findings, Level.FAULT) == {}
    assert "does not exist yet" in only(findings, Level.WARNING)["spool"].what
    assert not (tmp_path / "not").exists()
    without = await build.findings(settings_of(database.native_url, tmp_path, migrate=False))
    assert only(without, Level.FAULT).keys() == {"schema", "database"}


async def test_nobody_answers(start_server: StartServer, spool: Path) -> None:
    server = start_server()
    server.kill()
    faults = only(await build.findings(settings_of(server.native_url, spool)), Level.FAULT)
    assert faults.keys() == {"reach"}
    assert "clickhouse.url" in faults["reach"].hint


async def test_the_password_is_wrong(of_guarded: Database, spool: Path) -> None:
    url = of_guarded.server.endpoint.url("http", of_guarded.name, user="all", password="wrong")
    faults = only(await build.findings(settings_of(url, spool)), Level.FAULT)
    assert faults.keys() == {"reach"}
    assert "clickhouse.password" in faults["reach"].hint


def as_user(database: Database, user: str, scheme: str = "clickhouse") -> str:
    return database.server.endpoint.url(scheme, database.name, user=user, password="p")


async def test_rights_are_missing(of_guarded: Database, spool: Path) -> None:
    await prepared(of_guarded, spool)
    findings = await build.findings(settings_of(as_user(of_guarded, "reader"), spool))
    lacking = {finding.what: finding for finding in findings if finding.subject == "rights"}
    assert all(finding.level is Level.FAULT for finding in lacking.values())
    ours = f"`{of_guarded.name}`.`{PREFIX}`*"
    assert [finding.hint for finding in lacking.values()] == [
        f"GRANT INSERT ON {ours} TO `reader`",
        f"GRANT CREATE TABLE, DROP TABLE, ALTER DELETE ON {ours} TO `reader`",
        f"GRANT CREATE VIEW, DROP VIEW, ALTER TABLE ON {ours} TO `reader`",
        *(f"GRANT TABLE ENGINE ON {engine} TO `reader`" for engine in ENGINES),
    ]
    # Who leaves the schema to others needs less.
    findings = await build.findings(settings_of(as_user(of_guarded, "writer"), spool, migrate=False))
    lacks = [finding.what.split(" on ")[0] for finding in findings if finding.subject == "rights"]
    assert lacks == ["writer lacks CREATE TABLE, DROP TABLE, ALTER DELETE", *["writer lacks TABLE ENGINE"] * 2]
    (probe,) = (finding for finding in findings if finding.subject == "probe")
    assert (probe.level, "CREATE TABLE" in probe.hint) == (Level.FAULT, True)


@pytest.mark.parametrize(("user", "may"), [("maker", False), ("repairer", True)])
async def test_the_rights_to_repair_a_batch_are_told(
    of_guarded: Database, spool: Path, user: str, *, may: bool
) -> None:
    await prepared(of_guarded, spool)
    findings = await build.findings(settings_of(as_user(of_guarded, user), spool, migrate=False))
    levels = {finding.level for finding in findings if finding.subject == "rights"}
    assert levels == {Level.GOOD if may else Level.FAULT}
    now = datetime.now(UTC)
    times = dict.fromkeys(("timestamp", "recorded_at"), now.isoformat())
    event = {"id": "a", "project_id": "p", "level": "info", **times}
    row = json.dumps([event.get(column.name, None if column.nullable else "") for column in LOGS.columns]).encode()
    repairing = build.repaired(settings_of(as_user(of_guarded, user), spool), LOGS, row, int(now.timestamp() * 1000))
    if may:
        assert await repairing == [f"{PREFIX}logs", f"{PREFIX}logs_hourly"]
    else:
        with pytest.raises(OperatorError, match="ALTER DELETE"):
            await repairing


async def test_a_table_that_may_not_be_dropped_is_named(of_guarded: Database, spool: Path) -> None:
    await prepared(of_guarded, spool)
    findings = await build.findings(settings_of(as_user(of_guarded, "maker"), spool, migrate=False))
    mine = "SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%check%'"
    ((left,),) = of_guarded.query(mine)
    assert left in only(findings, Level.WARNING)["probe"].hint


async def test_with_several_hosts_a_right_more_is_needed(of_guarded: Database, spool: Path) -> None:
    await prepared(of_guarded, spool)
    used = settings_of(as_user(of_guarded, "repairer"), spool, migrate=False)
    for several, lacking in ((False, []), (True, ["repairer lacks SYSTEM SYNC REPLICA"])):
        faults = only(await build.rights(used, several=several), Level.FAULT)
        assert [fault.what.partition(" on ")[0] for fault in faults.values()] == lacking


@pytest.mark.parametrize(("user", "words"), [("readonly", "readonly = 1"), ("fixed", "may not change async_insert")])
async def test_a_profile_forbids_what_is_needed(of_guarded: Database, spool: Path, user: str, words: str) -> None:
    await prepared(of_guarded, spool)
    findings = await build.findings(settings_of(as_user(of_guarded, user), spool))
    (profile,) = (finding for finding in findings if finding.subject == "profile")
    assert profile.level is Level.FAULT
    assert words in profile.what


async def test_a_profile_allows_little_memory(of_guarded: Database, spool: Path) -> None:
    findings = await build.findings(settings_of(as_user(of_guarded, "poor"), spool))
    assert "200 MiB" in only(findings, Level.WARNING)["profile"].what


SPANS = "mastra_admin_spans"
FAULTS: dict[str, tuple[str, dict[str, object], str, str]] = {
    "no window": (
        f"ALTER TABLE {SPANS} RESET SETTING non_replicated_deduplication_window",
        {"migrate": False},
        "windows",
        "MODIFY SETTING non_replicated_deduplication_window = 10000",
    ),
    "a foreign view without a window": (
        f"CREATE MATERIALIZED VIEW mine ENGINE = MergeTree ORDER BY span_id AS SELECT span_id FROM {SPANS}",
        {},
        "windows",
        "MODIFY SETTING non_replicated_deduplication_window = 10000",
    ),
    "a column less": (f"ALTER TABLE {SPANS} DROP COLUMN attributes", {"migrate": False}, "schema", "migrate"),
    "a column of another type": (
        f"ALTER TABLE {SPANS} MODIFY COLUMN duration_ms Nullable(Int32)",
        {},
        "schema",
        "spoolhouse migrate --check",
    ),
    "not durable": ("SELECT 1", {"durable": True, "migrate": False}, "durable", "spoolhouse migrate"),
}


@pytest.mark.parametrize("case", FAULTS)
async def test_a_fault_of_the_schema(database: Database, spool: Path, case: str) -> None:
    statement, settings, subject, hint = FAULTS[case]
    await prepared(database, spool)
    database.query(statement)
    findings = await build.findings(settings_of(database.native_url, spool, **settings))
    faults = {finding.subject: finding for finding in findings if finding.level is Level.FAULT}
    assert hint in faults[subject].hint
    assert faults.keys() <= {subject, "schema"}


async def test_merges_do_not_keep_up(database: Database, spool: Path) -> None:
    await prepared(database, spool)
    database.query(f"ALTER TABLE {SPANS} MODIFY SETTING parts_to_delay_insert = 4, parts_to_throw_insert = 9")
    database.query(f"SYSTEM STOP MERGES {SPANS}")
    for number in range(4):
        database.query(f"INSERT INTO {SPANS} (span_id, start_time) VALUES ('{number}', now64())")
    warnings = only(await build.findings(settings_of(database.native_url, spool, username="default")), Level.WARNING)
    assert SPANS in warnings["parts"].what
    assert "4 parts" in warnings["parts"].what


REPLICA = "remote_servers/one/shard/replica"
ONE: dict[str, str | int] = {f"{REPLICA}/host": "127.0.0.1", f"{REPLICA}/port": 9}


async def test_a_cluster(start_server: StartServer, spool: Path) -> None:
    url = start_server(Config(server=ONE)).native_url
    good = await build.findings(settings_of(url, spool, cluster="one", keeper=False))
    assert [finding.what for finding in good if finding.subject == "cluster"] == ["one has 1 shards and 1 replicas"]
    # The test engine has neither Keeper nor such macros.
    faults = [finding.what for finding in await build.findings(settings_of(url, spool, cluster="one")) if finding.hint]
    assert any("macros" in what for what in faults)
    assert any("Keeper" in what for what in faults)
    other = await build.findings(settings_of(url, spool, cluster="two"))
    assert "clickhouse.cluster" in next(finding.hint for finding in other if finding.subject == "cluster")


@pytest.mark.parametrize(
    ("hours", "level"), [(0, Level.GOOD), (0.01, Level.WARNING), (-0.01, Level.WARNING), (30, Level.FAULT)]
)
async def test_the_clocks_differ(database: Database, spool: Path, hours: float, level: Level) -> None:
    findings = await build.clocks(
        settings_of(database.native_url, spool), lambda: time.time_ns() // 10**6 + int(hours * 3_600_000)
    )
    assert [finding.level for finding in findings] == [level, Level.GOOD]
