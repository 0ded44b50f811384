"""Health: writable while there is no trouble, each trouble by its scope, and told at a rate that tires nobody."""

import asyncio

import pytest
from structlog.testing import capture_logs

from spoolhouse.errors import OperatorError, TransientError, UnreachableError
from spoolhouse.monitoring.health import GUARD, SERVER, Health

DOWN = TransientError("connection refused", code=210)
DENIED = OperatorError("not enough privileges", code=497, hint="grant INSERT")


def test_nothing_is_writable_before_the_server_has_answered() -> None:
    health = Health()
    assert not health.writable.is_set()
    assert health.troubles == {}
    health.good(SERVER)
    assert health.writable.is_set()


def test_what_only_a_person_can_fix_holds_its_table_alone() -> None:
    health = Health()
    health.bad("spans", DENIED)
    assert not health.writable.is_set(), "nothing is known of the server yet"
    health.good(SERVER)
    assert health.writable.is_set()
    assert health.is_held("spans")
    assert not health.is_held("logs")
    health.good("spans")
    assert not health.is_held("spans")


def test_a_hold_lasts_until_it_is_released_whatever_is_inserted() -> None:
    health = Health()
    health.good(SERVER)
    with capture_logs() as logs:
        health.hold("spans", DENIED)
        health.hold("spans", DENIED)
        health.bad("spans", DOWN)
        health.good("spans")
    assert health.is_held("spans")
    assert health.writable.is_set()
    assert [entry["code"] for entry in logs] == [497, 210]
    health.release("spans")
    assert not health.is_held("spans")


def test_what_may_concern_all_stops_all_until_the_last_of_it_has_passed() -> None:
    health = Health()
    health.good(SERVER)
    health.bad("spans", DOWN)
    health.bad(SERVER, DENIED)
    assert {scope: error.code for scope, error in health.troubles.items()} == {"spans": 210, SERVER: 497}
    health.good("logs")
    health.good(SERVER)
    assert not health.writable.is_set()
    assert not health.is_held("spans")
    health.good("spans")
    assert health.writable.is_set()


def test_the_last_word_on_a_scope_counts() -> None:
    health = Health()
    health.bad("spans", DOWN)
    health.bad("spans", DENIED)
    assert {scope: error.code for scope, error in health.troubles.items()} == {"spans": 497}


def test_a_lasting_trouble_is_told_ever_less_often() -> None:
    health = Health()
    with capture_logs() as logs:
        for _ in range(20):
            health.bad("spans", DOWN)
    assert [entry["attempts"] for entry in logs] == [1, 2, 4, 8, 16]
    assert {entry["event"] for entry in logs} == {"clickhouse_unavailable"}


def test_a_trouble_that_comes_back_is_new() -> None:
    health = Health()
    with capture_logs() as logs:
        for _ in range(3):
            health.bad("spans", DOWN)
        health.good("spans")
        health.good("spans")
        health.bad("spans", DOWN)
    assert [(entry["event"], entry["attempts"]) for entry in logs] == [
        ("clickhouse_unavailable", 1),
        ("clickhouse_unavailable", 2),
        ("clickhouse_available", 3),
        ("clickhouse_unavailable", 1),
    ]


def test_scopes_are_counted_apart() -> None:
    health = Health()
    with capture_logs() as logs:
        for _ in range(3):
            health.bad("spans", DOWN)
        health.bad("logs", DOWN)
    assert [(entry["scope"], entry["attempts"]) for entry in logs] == [("spans", 1), ("spans", 2), ("logs", 1)]


@pytest.mark.parametrize(("error", "level", "hint"), [(DOWN, "warning", None), (DENIED, "error", "grant INSERT")])
def test_what_only_a_person_can_fix_is_an_error(
    error: TransientError | OperatorError, level: str, hint: str | None
) -> None:
    with capture_logs() as logs:
        Health().bad("spans", error)
    (entry,) = logs
    assert (entry["log_level"], entry["hint"], entry["code"]) == (level, hint, error.code)
    assert (entry["scope"], entry["error"]) == ("spans", error.message)


TYPES = {"spans": ["span"], "events": ["error", "tool_call"]}
ALL = ["error", "span", "tool_call"]


def test_before_the_first_answer_nothing_is_ready() -> None:
    [reason] = Health().reasons(TYPES)
    assert (reason.scope, reason.types, reason.held) == (SERVER, ALL, False)


def test_the_reasons_say_what_waits_for_what_and_for_how_long() -> None:
    now = 100.0
    health = Health(lambda: now)
    health.good(SERVER)
    assert health.reasons(TYPES) == []
    health.bad("events", DENIED)
    now = 107.0
    health.bad("events", DENIED)
    [held] = health.reasons(TYPES)
    assert (held.scope, held.types, held.held, held.seconds) == ("events", ["error", "tool_call"], True, 7.0)
    assert (held.error, held.code, held.hint) == ("not enough privileges", 497, "grant INSERT")
    health.bad("spans", DOWN)
    [_, down] = health.reasons(TYPES)
    assert (down.scope, down.types, down.held, down.hint) == ("spans", ALL, False, None), "it may concern all tables"
    health.good("spans")
    health.good("events")
    assert health.reasons(TYPES) == []
    health.bad("events", DENIED)
    assert health.reasons(TYPES)[0].seconds == 0, "a new trouble, a new time"


AWAY = UnreachableError("no answer from db:9000", hint="check clickhouse.url")


def test_no_answer_is_the_server_s_trouble_and_logged_ever_less_often() -> None:
    now = 100.0
    health = Health(lambda: now)
    health.good(SERVER)
    health.waiting = lambda: 197
    with capture_logs() as logs:
        health.bad("spans", AWAY)
        assert health.probe.is_set()
        for _ in range(400):
            health.silent(AWAY)
            health.bad("logs", AWAY)
            now += 2
        health.speaks()
    [reason, *others] = [entry for entry in logs if entry["event"] == "clickhouse_unavailable"]
    assert reason["summary"].startswith("ClickHouse has not answered since ")
    assert reason["summary"].endswith(" UTC; 197 files wait safely")
    assert len(others) == 4, "after 1, 2, 4 and 8 minutes"
    assert {entry["scope"] for entry in logs} == {SERVER}
    assert logs[-1]["event"] == "clickhouse_available"
    assert health.troubles == {}
    assert health.outage() is None


def troubles(health: Health) -> dict[str, str]:
    return {scope: str(error) for scope, error in health.troubles.items()}


def test_what_breaks_off_while_the_server_answers_is_the_table_s_trouble() -> None:
    health = Health()
    health.good(SERVER)
    health.bad("spans", AWAY)
    assert troubles(health) == {SERVER: str(AWAY)}
    health.speaks()
    assert troubles(health) == {"spans": str(AWAY)}
    health.bad("spans", AWAY)
    assert troubles(health) == {"spans": str(AWAY)}
    health.silent(AWAY)
    assert troubles(health) == {SERVER: str(AWAY)}, "now it is an outage, of which that is a part"
    health.landed("logs")
    assert troubles(health) == {SERVER: str(AWAY)}, "an answer that came late"
    health.speaks()
    assert health.writable.is_set()


def test_without_a_probe_a_row_that_landed_ends_it() -> None:
    health = Health()
    health.good(SERVER)
    health.bad("spans", AWAY)
    health.landed("logs")
    assert health.troubles == {}


async def test_only_the_end_of_an_outage_ends_a_pause() -> None:
    health = Health()
    pausing = asyncio.create_task(health.pause(60))
    await asyncio.sleep(0)
    health.bad("spans", AWAY)
    health.speaks()
    await asyncio.sleep(0)
    assert not pausing.done()
    health.silent(AWAY)
    health.speaks()
    await asyncio.wait_for(pausing, 5)


def test_a_table_that_the_guard_holds_stays_held_through_an_outage() -> None:
    """Its insert breaks off, then nobody answers, then the server does: what it is held for is still there."""
    health = Health()
    health.good(SERVER)
    health.hold("spans", OperatorError("no window"))
    health.bad("spans", AWAY)
    health.speaks()
    assert health.is_held("spans")
    health.silent(AWAY)
    health.speaks()
    assert health.is_held("spans")
    assert troubles(health) == {"spans": "no window"}
    assert health.reasons({"spans": ["span"]})[0].types == ["span"]
    assert health.writable.is_set(), "the other tables take rows"
    health.release("spans")
    assert not health.is_held("spans")


def test_no_row_that_lands_ends_what_the_guard_refuses() -> None:
    health = Health()
    health.good(SERVER)
    health.bad(GUARD, OperatorError("the clock is 40 days behind"))
    assert not health.writable.is_set()
    health.bad("spans", AWAY)
    health.landed("spans")
    assert not health.writable.is_set()
    health.good(GUARD)
    assert health.writable.is_set()
