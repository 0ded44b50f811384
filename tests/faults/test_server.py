"""The server dies, is away, comes back on the same data, and refuses: nothing is lost, nothing lands twice."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.engine import Config, Database, LocalServer, StartServer, User
from tests.faults.life import LIFE, LONG, QUICK, armed, recover, strike_at, wait_until
from tests.faults.oracle import LAST_MONTH, PREFIX, RECENT, Oracle
from tests.process.daemon import Daemon, Record

DRIVERS = ("native_url", "http_url")
PLACES = (
    "instance.claimed",
    "insert.before_send",
    "insert.sending",
    "insert.answered",
    "settle.complete",
    "adopt.loaded",
)


@pytest.fixture
def server_of_its_own(start_server: StartServer) -> LocalServer:
    """Start a server that may be killed. Its functions may raise any error code."""
    return start_server(Config(profiles={"default": {"allow_custom_error_code_in_throwif": 1}}))


@pytest.fixture
def oracle(server_of_its_own: LocalServer, tmp_path: Path) -> Oracle:
    """A spool, and a database on the server that may be killed."""
    database = Database(name="faults", server=server_of_its_own)
    database.create()
    made = Oracle(spool=tmp_path / "spool", database=database)
    made.prepare()
    return made


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("away", [False, True], ids=["back at once", "away for a while"])
def test_server_killed_at_each_place(oracle: Oracle, driver: str, away: bool) -> None:
    server = oracle.database.server

    def back() -> None:
        server.start()
        oracle.stop_merges()

    def strike() -> None:
        server.kill()
        if not away:
            back()

    for place in LIFE if LONG else PLACES[away + 2 * DRIVERS.index(driver) :: 3]:
        if place.startswith("native.") and driver == "http_url":
            continue
        strike_at(oracle, place, strike, back if away else lambda: None, url=getattr(oracle.database, driver))
    oracle.check()


def alter(table: str, change: str) -> str:
    return f"ALTER TABLE {PREFIX}{table} {change}"


def refusing(code: int) -> tuple[str, str]:
    """Return what makes spans answer every insert with an error, before anything of it is written, and its end."""
    return (
        alter("spans", f"ADD CONSTRAINT refuse CHECK NOT throwIf(1, 'no', toInt16({code}))"),
        alter("spans", "DROP CONSTRAINT refuse"),
    )


def refusing_view(code: int) -> tuple[str, str]:
    """Return what makes the rollup of spans fail when the rows are in the table already, and its end."""
    return (
        alter("spans_hourly", f"ADD CONSTRAINT refuse CHECK NOT throwIf(1, 'no', toInt16({code}))"),
        alter("spans_hourly", "DROP CONSTRAINT refuse"),
    )


ANSWERS: dict[str, tuple[int, tuple[str, str]]] = {
    "too many parts": (
        252,
        (
            alter("spans", "MODIFY SETTING parts_to_throw_insert = 1"),
            alter("spans", "RESET SETTING parts_to_throw_insert"),
        ),
    ),
    "disk full": (
        243,
        (
            alter("spans", "MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000"),
            alter("spans", "RESET SETTING min_free_disk_bytes_to_perform_insert"),
        ),
    ),
    "read-only table": (
        774,
        (alter("spans", "MODIFY SETTING table_readonly = 1"), alter("spans", "MODIFY SETTING table_readonly = 0")),
    ),
    "column missing": (
        16,
        (
            f"SYSTEM START MERGES {PREFIX}spans; " + alter("spans", "DROP COLUMN attributes"),
            alter("spans", "ADD COLUMN attributes String DEFAULT '{}' CODEC(ZSTD(1)) AFTER duration_ms")
            + f"; SYSTEM STOP MERGES {PREFIX}spans",
        ),
    ),
    "table away": (
        60,
        (f"RENAME TABLE {PREFIX}spans TO away", f"RENAME TABLE away TO {PREFIX}spans"),
    ),
    **{f"code {code}": (code, refusing(code)) for code in (159, 241, 242, 425, 999, 1001, 31999)},
    **{f"code {code} in the view": (code, refusing_view(code)) for code in (159, 241, 243, 31999)},
}  # fmt: skip


def refusals(daemon: Daemon, code: int) -> list[Record]:
    """Return what the log has of an answer, whether it passes or waits for a person."""
    return daemon.events("clickhouse_unavailable", code=code) + daemon.events("table_held", code=code)


@pytest.mark.parametrize("driver", DRIVERS if LONG else DRIVERS[:1])
@pytest.mark.parametrize("answers", [list(ANSWERS)[start::4] for start in range(4)], ids=lambda some: some[0])
def test_the_servers_answers(oracle: Oracle, driver: str, answers: list[str]) -> None:
    """Whatever it answers, the rows wait, the log names the code, and they land by themselves once it is over."""
    oracle.drop()
    with Daemon(getattr(oracle.database, driver), oracle.spool, env=QUICK) as daemon:
        daemon.wait_for("file_settled")
        for answer in answers:
            code, (fault, hint) = ANSWERS[answer]
            for statement in fault.split("; "):
                oracle.database.query(statement)
            before = len(refusals(daemon, code))
            oracle.drop()
            oracle.drop()
            wait_until(lambda: len(refusals(daemon, code)) >= before + 2)  # noqa: B023  # it is over within this turn
            for statement in hint.split("; "):
                oracle.database.query(statement)
            wait_until(lambda: oracle.settled() == len(oracle.files))
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    oracle.check()


def test_the_server_has_no_memory_to_check_the_lines_of_a_round(oracle: Oracle) -> None:
    """They are checked in parts, and land in parts; so does the next daemon, if one dies in between."""
    refuse = "NOT throwIf(blockSize() > 2500, 'no memory', toInt16(241))"
    oracle.database.query(alter("spans", f"ADD CONSTRAINT refuse CHECK {refuse}"))
    oracle.drop_left_out(more=4100)
    with Daemon(oracle.database.native_url, oracle.spool, env=armed("journal.cut", "kill")) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    recover(oracle)
    oracle.check()


LOSSES = {
    "a part of the table": "table = 'mastra_admin_spans' AND partition = '{recent}'",
    "all parts of the table": "table = 'mastra_admin_spans'",
    "a part of a rollup": "table = 'mastra_admin_spans_hourly' AND partition = '{before}'",
    "all parts of all rollups": "table LIKE '%\\_hourly'",
    "every part": "table LIKE 'mastra%'",
}


@pytest.mark.parametrize("loss", LOSSES)
def test_server_dies_between_its_token_log_and_its_parts(oracle: Oracle, loss: str) -> None:
    """It knows the token and lacks the part: what a kill between the two leaves. The batch is made whole."""
    server = oracle.database.server
    oracle.drop(30, logs=5)
    with Daemon(oracle.database.native_url, oracle.spool, env=armed("insert.answered@2", "kill")) as daemon:
        assert daemon.wait() == -signal.SIGKILL, daemon.told()
    which = LOSSES[loss].format(recent=f"{RECENT:%Y%m}", before=f"{LAST_MONTH:%Y%m}")
    parts = oracle.database.query(
        f"SELECT path FROM system.parts WHERE database = currentDatabase() AND active AND {which}"
    )
    assert parts
    server.kill()
    for (path,) in parts:
        shutil.rmtree(path)
    server.start()
    oracle.stop_merges()
    recover(oracle)
    oracle.check()


def test_the_password_is_changed_and_changed_back(oracle: Oracle) -> None:
    """Nothing is dropped, and the daemon goes on by itself. Over HTTP: natively the test engine aborts."""
    server = oracle.database.server
    assert isinstance(server, LocalServer)
    env = QUICK | {"SPOOLHOUSE_CLICKHOUSE__USERNAME": "writer", "SPOOLHOUSE_CLICKHOUSE__PASSWORD": "first"}

    def change(password: str) -> None:
        server.config = Config(users=(User(name="writer", password=password),))
        server.restart()
        oracle.stop_merges()

    change("first")
    oracle.drop()
    with Daemon(oracle.database.http_url, oracle.spool, env=env) as daemon:
        daemon.wait_for("file_settled")
        change("second")
        oracle.drop()
        daemon.wait_for("clickhouse_unavailable", code=516)
        change("first")
        daemon.wait_for("file_settled", count=2)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    oracle.check()


def test_a_table_is_dropped_and_made_again(oracle: Oracle) -> None:
    """What is on its way waits for it, and lands in the new one and in its rollup."""
    here = oracle.spool.parent / "here"
    oracle.drop()
    env = armed("insert.before_send", f"wait:{here}")
    with Daemon(oracle.database.native_url, oracle.spool, env=env) as daemon:
        wait_until(here.exists)
        [(create,)] = oracle.database.query(f"SHOW CREATE TABLE {PREFIX}spans")
        oracle.database.query(f"DROP TABLE {PREFIX}spans SYNC")
        here.unlink()
        daemon.wait_for("table_held", code=60)
        oracle.database.query(str(create))
        oracle.stop_merges()
        daemon.wait_for("file_settled")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    oracle.check()
