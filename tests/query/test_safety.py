"""Nothing of a request is SQL, projects are apart, limits throw, and a caller that goes away stops the query."""

import asyncio
import math
import uuid
from collections.abc import Callable, Iterator
from operator import methodcaller
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from spoolhouse.errors import BadRequestError, QuestionTooLargeError, StoreError
from spoolhouse.query import connect
from spoolhouse.query.aliases import Client
from spoolhouse.query.signals import LISTS, SIGNALS, VALUES
from tests.engine import Config, Database, LocalServer, User, find_engine, make_tables
from tests.query.test_model import insert
from tests.query.test_pages import WINDOW, row

INJECTIONS = (
    "'", "\\", "\\'", "') OR 1=1 --", "`", "{p0:String}", "{x:Identifier}", "%", "_", "\0", "\n", "/*",
    "';DROP TABLE x", "v0", "ü漢\u202e", "$", "?", "a\tb", "\x7f", "[1", "NULL",
)  # fmt: skip
texts = st.sampled_from(INJECTIONS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def ask(url: str, question: Callable[[Client], Any]) -> Any:
    async def asked() -> Any:
        async with connect(url) as q:
            return await question(q)

    return asyncio.run(asked())


@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_text_is_sql(database: Database, data: st.DataObject) -> None:
    """Each text is a value: of a project that nobody has, so that any row that is found would be another's."""
    if not database.query("SELECT count() FROM mastra_admin_traces")[0][0]:
        insert(database, [row(n) for n in range(3)])
    draw: Callable[[], str] = lambda: data.draw(texts)  # noqa: E731  # short, and used once

    async def asked() -> None:
        async with connect(database.native_url) as q, connect(database.http_url) as http:
            for one in (q, http):
                for name, signal in LISTS.items():
                    filters = {
                        key: draw()
                        for key in data.draw(st.sets(st.sampled_from(sorted(signal.filters)), max_size=3))
                        if key not in {"min", "max"}
                    }
                    await _harmless(one.page(name, project=draw() + "!", **WINDOW, label={draw(): draw()}, **filters))
                name = data.draw(st.sampled_from(sorted(SIGNALS)))
                await _harmless(
                    one.figures(name, project=draw() + "!", of=(draw(),), by=(draw(), f"label.{draw()}"), every=draw())
                )
                await _harmless(
                    one.figures(name, project=draw() + "!", by=(f"label.{draw()}",), label={draw(): draw()})
                )
                what = data.draw(st.sampled_from(sorted(VALUES)))
                await _harmless(one.values(what, project=draw() + "!", prefix=draw(), key=draw()))
                await _harmless(one.page("traces", project=draw() + "!", order=draw()))
                await _harmless(one.trace(draw() + "!", draw()))

    asyncio.run(asked())
    assert database.query("SELECT count() FROM mastra_admin_traces") == [(3,)]


async def _harmless(made: Any) -> None:
    """Expect nothing to be found, or the question to be refused before it is sent."""
    try:
        found = await made
    except BadRequestError:
        return
    rows = getattr(found, "records", getattr(found, "rows", found))
    assert not [one for one in rows or () if getattr(one, "by", True)], rows


@pytest.mark.parametrize(
    "question",
    [
        lambda q: q.page("traces", project=""),
        lambda q: q.page("traces", project=None),
        lambda q: q.page("traces"),
        lambda q: q.page("nothing", project="p"),
        lambda q: q.page("traces", project="p", limit=0),
        lambda q: q.page("traces", project="p", page_size=1001),
        lambda q: q.page("traces", project="p", page_size=0),
        lambda q: q.page("traces", project="p", page_size=True),
        lambda q: q.page("traces", project="p", limit=True),
        lambda q: q.page("traces", project="p", order="start_time; DROP"),
        lambda q: q.page("traces", project="p", name="x" * (1 << 20)),
        lambda q: q.page("traces", project="p", name="\ud800"),
        lambda q: q.page("traces", project="p", status="okay"),
        lambda q: q.page("traces", project="p", min=math.nan),
        lambda q: q.page("traces", project="p", min="1"),
        lambda q: q.page("traces", project="p", since="yesterday"),
        lambda q: q.page("traces", project="p", since="1h", until="2h"),
        lambda q: q.page("traces", project="p", trace=["x"] * 101),
        lambda q: q.page("traces", project="p", trace=["x" * 4000] * 90),
        lambda q: q.page("traces", project="p", color="red"),
        lambda q: q.page("logs", project="p", words="!?"),
        lambda q: q.page("traces", project="p", where={"or": [{"field": "name"}]}),
        lambda q: q.page("traces", project="p", where={"field": "name", "op": "LIKE", "value": "x"}),
        lambda q: q.page("traces", project="p", where={"some": "system.users"}),
        lambda q: q.page("traces", project="p", where={"and": [{"field": "name", "op": "exists"}] * 100}),
        lambda q: q.figures("span", project="p", every="0s"),
        lambda q: q.figures("span", project="p", every="1s", since="7d"),
        lambda q: q.figures("span", project="p", of=("p101",)),
        lambda q: q.figures("span", project="p", of=("sum:name",)),
        lambda q: q.figures("span", project="p", by=("start_time",)),
        lambda q: q.figures("span", project="p", edges=(2, 1)),
        lambda q: q.figures("span", project="p", edges=(math.nan,)),
        lambda q: q.figures("span", project="p", edges="0); DROP"),
        lambda q: q.figures("span", project="p", edges=tuple(range(101))),
        lambda q: q.figures("log", project="p", edges=(1,)),
        lambda q: q.figures("span", project="p", having=(("count", "=", 1),)),
        lambda q: q.figures("metric", project="p", of=("error_rate",)),
        lambda q: q.values("label_values", project="p"),
        lambda q: q.values("passwords", project="p"),
        lambda q: q.trace("", "t"),
        lambda q: q.sql("DROP TABLE x", limit=0),
    ],
)
def test_what_is_not_accepted_is_refused_in_words(question: Callable[[Client], Any]) -> None:
    """Before anything is sent: nobody listens there."""
    with pytest.raises(BadRequestError) as caught:
        ask("clickhouse://127.0.0.1:1", question)
    assert len(str(caught.value)) < 1000


def test_another_projects_rows_are_missing_rows(database: Database) -> None:
    insert(database, [row(1, project="mine"), row(2, project="theirs")])
    assert [
        one.trace_id for one in ask(database.native_url, lambda q: q.page("traces", project="mine", **WINDOW)).records
    ] == ["t001"]
    assert ask(database.native_url, lambda q: q.get_trace("mine", "t002")) is None
    assert ask(database.native_url, lambda q: q.trace("mine", "t002")) is None
    assert ask(database.native_url, lambda q: q.values("statuses", project="none", **WINDOW)) == []


READER = Config(
    users=(
        User(name="reader", password="r", profile="reader", grants=("GRANT SELECT ON test_*.*",)),
        User(name="second", password="r", profile="second", grants=("GRANT SELECT ON test_*.*",)),
        User(name="limited", password="l", profile="limited", grants=("GRANT SELECT ON *.*",)),
    ),
    profiles={"reader": {"readonly": 1}, "second": {"readonly": 2}, "limited": {"max_rows_to_read": 10, "limit": 1}},
)


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """A server with users that may do little."""
    with LocalServer(find_engine(), tmp_path_factory.mktemp("reading"), READER) as local:
        yield local


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+aioch", "http"])
@pytest.mark.parametrize("user", ["reader", "second"])
def test_a_user_who_may_only_read_is_enough(scheme: str, user: str, reading: LocalServer) -> None:
    with Database.new(reading) as database:
        make_tables(database)
        insert(database, [row(n) for n in range(5)])
        url = reading.endpoint.url(scheme, database.name, user=user, password="r")
        page = ask(url, lambda q: q.page("traces", project="shop", limit=3, **WINDOW))
        assert (len(page.records), page.truncated) == (3, True)
        assert ask(url, lambda q: q.figures("trace", project="shop", **WINDOW)).rows[0].values == {"count": 5}
        assert ask(url, lambda q: q.page("logs", project="shop", words="none", **WINDOW)).records == []
        assert ask(url, lambda q: q.sql("SELECT 1 AS one"))[1] == [(1,)]


@pytest.mark.parametrize("scheme", ["clickhouse", "http"])
def test_a_limit_throws_and_says_so(scheme: str, reading: LocalServer) -> None:
    with Database.new(reading) as database:
        make_tables(database)
        insert(database, [row(n) for n in range(50)])
        url = reading.endpoint.url(scheme, database.name, user="limited", password="l")
        with pytest.raises(QuestionTooLargeError, match="too many rows; ask for a shorter time"):
            ask(url, lambda q: q.page("traces", project="shop", **WINDOW))


@pytest.mark.parametrize("url", ["native_url", "http_url"])
def test_sql_can_only_read(url: str, database: Database) -> None:
    insert(database, [row(1)])
    for text in (
        "DROP TABLE mastra_admin_traces",
        "INSERT INTO mastra_admin_traces SELECT * FROM mastra_admin_traces",
        "SELECT 1) FORMAT Null; DROP TABLE mastra_admin_traces --",
        "SELECT 1; TRUNCATE TABLE mastra_admin_traces",
        "ALTER TABLE mastra_admin_traces DELETE WHERE 1",
    ):
        with pytest.raises((StoreError, BadRequestError)):
            ask(getattr(database, url), methodcaller("sql", text))
    assert database.query("SELECT count() FROM mastra_admin_traces") == [(1,)]
    names, rows = ask(
        getattr(database, url),
        lambda q: q.sql("SELECT trace_id AS a, tuple(1, 'x') AS `b c` FROM mastra_admin_traces;"),
    )
    assert (names, rows) == (["a", "b c"], [("t001", "(1,'x')")])


@pytest.mark.parametrize("scheme", ["clickhouse", "clickhouse+aioch", "http"])
def test_a_caller_that_goes_away_ends_the_servers_query(scheme: str, database: Database) -> None:
    """Within a second, on each way there."""
    mark = uuid.uuid4().hex
    url = database.server.endpoint.url(scheme, database.name)
    running = (
        f"SELECT count() FROM system.processes WHERE position(query, '{mark}') > 0 AND position(query, 'processes') = 0"
    )

    async def leave() -> float:
        async with connect(url) as q:
            slow = f"SELECT sum(sleepEachRow(0.01)) AS s, '{mark}' AS m FROM numbers(1000) SETTINGS max_block_size = 1"
            asking = asyncio.create_task(q.sql(slow))
            while not (await asyncio.to_thread(database.query, running))[0][0]:
                assert not asking.done(), await asking
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            began = asyncio.get_running_loop().time()
            while (await asyncio.to_thread(database.query, running))[0][0]:  # noqa: ASYNC110  # no event says so
                await asyncio.sleep(0)
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(leave()) < 1.5


def test_a_server_that_is_away_is_an_error_of_its_own() -> None:
    with pytest.raises(StoreError):
        ask("clickhouse://127.0.0.1:1", lambda q: q.page("traces", project="p"))
