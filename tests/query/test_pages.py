"""Cursors: ties, inserts between pages, and cursors that are not theirs."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from spoolhouse.errors import BadRequestError, BadSettingError
from spoolhouse.query import ALL_PROJECTS, Logs, Traces, connect, connect_sync
from spoolhouse.query.aliases import Client
from spoolhouse.query.cursor import fingerprint, from_text, to_text
from spoolhouse.query.questions import Position, Window
from tests.engine import Database
from tests.query.test_model import BASE, Row, insert

WINDOW: dict[str, Any] = {"since": BASE - timedelta(days=1), "until": BASE + timedelta(days=1)}


def row(number: int, **fields: Any) -> Row:
    known: dict[str, Any] = {
        "project": "shop", "time": BASE, "id": f"t{number:03}", "recorded": 0, "name": "n", "status": "ok",
        "duration": 1.0, "region": None, **fields,
    }  # fmt: skip
    return Row(**known)


@asynccontextmanager
async def client(database: Database) -> AsyncGenerator[Client]:
    async with connect(database.native_url) as q:
        yield q


def test_many_rows_of_one_time_are_each_listed_once(database: Database) -> None:
    insert(database, [row(n) for n in range(150)])

    async def pages(order: str) -> list[str]:
        async with client(database) as q:
            return [one.trace_id async for one in q.traces(project="shop", page_size=7, order=order, **WINDOW)]

    every = [f"t{n:03}" for n in range(150)]
    assert asyncio.run(pages("time")) == every
    assert asyncio.run(pages("-time")) == every[::-1]
    assert asyncio.run(pages("duration_ms")) == every


def test_a_limit_is_the_number_of_all_records(database: Database) -> None:
    insert(database, [row(n) for n in range(150)])

    async def counts() -> list[int]:
        async with client(database) as q:
            asked: list[dict[str, Any]] = [
                {}, {"limit": 1}, {"limit": 100}, {"limit": 149, "page_size": 7}, {"limit": 14, "page_size": 7},
                {"limit": 5000}, {"limit": 2, "page_size": 1000},
            ]  # fmt: skip
            return [len([one async for one in q.traces(project="shop", **one, **WINDOW)]) for one in asked]

    assert asyncio.run(counts()) == [150, 1, 100, 149, 14, 150, 2]


def test_the_same_ids_in_two_projects_are_two_rows(database: Database) -> None:
    insert(database, [row(n, project=project) for n in range(10) for project in ("a", "b", "c")])

    async def pages() -> list[tuple[str, str]]:
        async with client(database) as q:
            found = q.traces(project=ALL_PROJECTS, page_size=4, **WINDOW)
            return [(one.project_id, one.trace_id) async for one in found]

    found = asyncio.run(pages())
    assert len(found) == len({*found}) == 30


def test_what_lands_between_two_pages_moves_nothing(database: Database) -> None:
    """The first pages are not shown again, nothing after them is left out, and a new version counts from then on."""
    insert(database, [row(n, time=BASE - timedelta(minutes=n)) for n in range(10)])

    async def pages() -> list[str]:
        async with client(database) as q:
            first = await q.page("traces", Traces(project="shop", limit=5, **WINDOW))
            newer = [row(100 + n, time=BASE + timedelta(minutes=n)) for n in range(5)]
            gone = [row(7, time=BASE - timedelta(minutes=7), recorded=1, project="shop", status="error")]
            await asyncio.to_thread(insert, database, [*newer, *gone])
            rest = await q.page("traces", Traces(project="shop", limit=20, **WINDOW), cursor=first.cursor)
            assert (first.truncated, rest.truncated) == (True, False)
            return [one.trace_id + one.status for one in (*first.records, *rest.records)]

    wanted = [f"t{n:03}ok" for n in range(10)]
    wanted[7] = "t007error"
    assert asyncio.run(pages()) == wanted


def test_superseded_rows_do_not_match(database: Database) -> None:
    """More of them than a page has candidates: the search goes on behind them."""
    rows = [row(n, time=BASE - timedelta(seconds=n), status="error") for n in range(300)]
    insert(database, rows)
    insert(database, [row(n, time=BASE - timedelta(seconds=n), recorded=1, status="ok") for n in range(290)])

    async def pages() -> list[str]:
        async with client(database) as q:
            return [one.trace_id async for one in q.traces(project="shop", status="error", page_size=3, **WINDOW)]

    assert asyncio.run(pages()) == [f"t{n:03}" for n in range(290, 300)]


def test_a_cursor_can_follow_a_flag() -> None:
    """One that began with - would be taken for another flag."""
    mark, window = fingerprint("logs", Traces(project="shop")), Window(since_ms=0, until_ms=9)
    places = [Position(time_ms=number, ids=(str(number),)) for number in range(500)]
    cursors = [to_text(mark, window, place) for place in places]
    assert all(cursor[0].isalpha() for cursor in cursors)
    assert [from_text(cursor, mark, 1) for cursor in cursors] == [(window, place) for place in places]


def test_a_cursor_of_a_relative_window_stays_in_it(database: Database) -> None:
    insert(database, [row(n, time=BASE - timedelta(minutes=n)) for n in range(4)])

    async def pages() -> int:
        clock = [int((BASE + timedelta(minutes=1)).timestamp() * 1000)]
        async with client(database) as q:
            q._now_ms = lambda: clock[0]
            request = Traces(project="shop", since="2h", limit=2)
            first = await q.page("traces", request)
            clock[0] += 3_600_000 * 5
            return len((await q.page("traces", request, cursor=first.cursor)).records)

    assert asyncio.run(pages()) == 2


CHANGES: dict[str, Callable[[str], str]] = {
    "cut": lambda text: text[:-3],
    "one letter": lambda text: ("A" if text[0] != "A" else "B") + text[1:],
    "no base64": lambda text: text + "!",
    "empty": lambda _: "",
    "other bytes": lambda _: base64.urlsafe_b64encode(b"x" * 60).decode(),
    "huge": lambda text: text * 100_000,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_cursor_is_refused(name: str, database: Database) -> None:
    insert(database, [row(n) for n in range(3)])

    async def refused() -> str:
        async with client(database) as q:
            request = Traces(project="shop", limit=1, **WINDOW)
            cursor = (await q.page("traces", request)).cursor
            assert cursor is not None
            with pytest.raises(BadRequestError) as caught:
                await q.page("traces", request, cursor=CHANGES[name](cursor))
            return str(caught.value)

    assert "cursor" in asyncio.run(refused())


@pytest.mark.parametrize(
    "other",
    [
        ("traces", Traces(project="other", limit=1, **WINDOW)),
        ("traces", Traces(project="shop", limit=1, status="ok", **WINDOW)),
        ("traces", Traces(project="shop", limit=1, order="time", **WINDOW)),
        ("logs", Logs(project="shop", limit=1, **WINDOW)),
    ],
    ids=["project", "filter", "order", "list"],
)
def test_a_cursor_of_another_list_is_refused(other: tuple[str, Any], database: Database) -> None:
    insert(database, [row(n) for n in range(3)])

    async def refused() -> str:
        async with client(database) as q:
            cursor = (await q.page("traces", Traces(project="shop", limit=1, **WINDOW))).cursor
            with pytest.raises(BadRequestError) as caught:
                await q.page(other[0], other[1], cursor=cursor)
            return str(caught.value)

    assert "of another list" in asyncio.run(refused())


def test_a_page_may_have_another_size_than_the_one_before(database: Database) -> None:
    insert(database, [row(n) for n in range(9)])

    async def sizes() -> list[int]:
        async with client(database) as q:
            first = await q.page("traces", Traces(project="shop", limit=2, **WINDOW))
            rest = await q.page("traces", Traces(project="shop", page_size=1000, **WINDOW), cursor=first.cursor)
            return [len(first.records), len(rest.records)]

    assert asyncio.run(sizes()) == [2, 7]


@pytest.mark.parametrize("url", ["native_url", "http_url"])
def test_the_largest_page_and_long_ids(url: str, database: Database) -> None:
    insert(database, [row(n, time=BASE - timedelta(seconds=n)) for n in range(1100)])
    insert(database, [row(0, id="x" * 60_000, time=BASE + timedelta(seconds=n)) for n in range(3)])

    async def pages() -> list[int]:
        async with connect(getattr(database, url)) as q:
            request = Traces(project="shop", limit=1000, **WINDOW)
            first = await q.page("traces", request)
            rest = await q.page("traces", request, cursor=first.cursor)
            small = [one async for one in q.traces(project="shop", page_size=2, since=BASE, until=WINDOW["until"])]
            return [len(first.records), len(rest.records), len(small)]

    assert asyncio.run(pages()) == [1000, 103, 4]


def test_lists_are_whole_while_new_versions_land(database: Database) -> None:
    """Each row once, in its order, whatever is delivered again meanwhile."""
    rows = [row(n, time=BASE - timedelta(seconds=n // 3)) for n in range(300)]
    insert(database, rows)
    wanted = [one.id for one in sorted(rows, key=lambda one: (one.time, one.id), reverse=True)]

    async def read() -> int:
        landing = asyncio.create_task(asyncio.to_thread(again))
        times = 0
        async with client(database) as q:
            while not landing.done():
                found = [one.trace_id async for one in q.traces(project="shop", page_size=40, status="ok", **WINDOW)]
                assert found == wanted
                times += 1
        await landing
        return times

    def again() -> None:
        for version in range(1, 9):
            insert(database, [row(n, time=BASE - timedelta(seconds=n // 3), recorded=version) for n in range(300)])

    assert asyncio.run(read()) > 0


def test_the_same_without_asyncio(database: Database) -> None:
    insert(database, [row(n) for n in range(9)])
    with connect_sync(database.http_url) as q:
        assert len(list(q.traces(project="shop", page_size=2, **WINDOW))) == 9
        assert len(q.page("traces", project="shop", limit=2, **WINDOW).records) == 2
        first = next(q.traces(project="shop", page_size=2, **WINDOW))
        assert q.get_trace("shop", first.trace_id) == first
        assert q.capabilities["tracing"] == {"supported": True}
        assert "list_traces" in dir(q)
    with pytest.raises(BadSettingError):
        connect_sync("ftp://nowhere")
