"""What somebody does who has never seen the page: clicks are counted, and what is shown is what was written."""

import asyncio
import gzip
import json
import re
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest
import pytest_asyncio

from tests.browser import axe, find_browser
from tests.browser.person import Person
from tests.browser.sample import (
    COMPLAINT,
    HOSTILE,
    LARGE,
    PROJECT,
    SLOW,
    SLOW_SPAN,
    TOOL_ERROR,
    Sample,
    folders,
    large,
    later,
    text,
)
from tests.process.daemon import Daemon, drop, lines

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXPLORER = Path(__file__).parents[2] / "daemon" / "spoolhouse" / "explorer"


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the daemon has its spool, and its database."""
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture(scope="module")
def address(sample: Sample, folder: Path) -> Iterator[str]:
    """A daemon that has landed the sample: the page's address, with its token."""
    with Daemon(f"duckdb://{folder}/events.db", folder / "spool", http="any port") as daemon:
        kinds = list(folders(sample.events))
        for kind, events in kinds:
            drop(folder / "spool", kind, PROJECT, "sample.jsonl", lines(events))
        assert [one["rejected"] for one in daemon.wait_for("file_settled", count=len(kinds))] == [0] * len(kinds)
        drop(folder / "spool", "span", LARGE, "large.jsonl", lines(large()))
        daemon.wait_for("file_settled", count=len(kinds) + 1)
        way = json.loads((folder / "events.db.daemon").read_bytes())
        yield f"{way['url']}/#/?token={way['token']}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visitor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Person]:
    async with find_browser().tab(tmp_path_factory.mktemp("profile"), width=1280, height=800) as tab:
        yield Person(tab)


@pytest_asyncio.fixture(loop_scope="module")
async def person(visitor: Person) -> AsyncIterator[Person]:
    """Somebody whose browser has nothing to complain of: no error, and nothing that the policy forbids."""
    visitor.tab.complaints.clear()
    yield visitor
    # Questions of a view that was left may be running still: the server has four at once, and the page asks again.
    assert [one for one in visitor.tab.complaints if "status of 503" not in one] == []


async def test_the_slowest_trace_of_the_hour_and_why(person: Person, address: str) -> None:
    await person.open(address)
    await person.click("[data-value='1h']")
    await person.see("[data-value='1h'][aria-pressed=true]")
    await person.click("[data-order=duration_ms]")
    await person.see("th[aria-sort=descending]", "Duration")
    await person.click("#traces tbody tr")
    await person.see("#span-name")
    assert person.clicks == 3
    assert await person.text(".head h1") == SLOW
    assert await person.text("#span-name") == SLOW_SPAN
    assert (await person.text("#span-took")).startswith("42.8\u00a0s")
    way = await person.texts(".line.critical .title")
    assert [way[0], *way[2:-1]] == [SLOW, "gather offers", SLOW_SPAN], (
        "the critical path; a model before, and one after"
    )
    await person.press("ArrowDown")
    await person.see("#span-name", "search hotels")
    assert "span=" in str(await person.tab.value("location.hash")), "each span has an address"


async def test_the_failed_tool_call_of_yesterday(person: Person, address: str, sample: Sample) -> None:
    await person.open(address)
    await person.click("[data-value='7d']")
    await person.click("[aria-label=status] [data-value=error]")
    await person.see("[data-value=error][aria-pressed=true]")
    await person.click(f"tr[data-id='{sample.failed}']")
    await person.see("#span-error")
    assert person.clicks <= 4
    assert await person.text("#span-name") == "charge_card"
    assert await person.text("#span-error") == TOOL_ERROR
    assert await person.texts(".log-lines .own > .text") == sample.failed_logs
    await person.see_whole(".log-lines .own", ".inspector")


async def test_what_each_model_cost_this_week(person: Person, address: str, sample: Sample) -> None:
    calls: dict[tuple[str, str], float] = defaultdict(float)
    spans: dict[tuple[str, str], float] = defaultdict(float)
    for one in sample.of("prompt_call"):
        calls[one["model"], one["timestamp"][:10]] += one["cost_estimate_usd"]
    for one in sample.of("span"):
        if "model" in one:
            spans[one["model"], one["startTime"][:10]] += one["costUsd"]
    await person.open(address)
    await person.click("[data-view=cost]")
    await person.click("[data-value='7d']")
    await person.see("[data-value='7d'][aria-pressed=true]")
    for table, written in (("events-cost", calls), ("spans-cost", spans)):
        await person.see(f"#{table} tbody tr")
        shown: dict[tuple[str, str], str] = {}
        sums = {}
        for row in await person.rows(f"#{table}"):
            sums[row["Model"]] = row["Sum"]
            shown |= {(row["Model"], day): row[_short(day)] for _, day in written if row[_short(day)] != "\N{EN DASH}"}
        assert shown == {key: _money(cost) for key, cost in written.items()}
        for name in {model for model, _ in written}:
            assert sums[name] == _money(sum(cost for (model, _), cost in written.items() if model == name))
    assert person.clicks == 2


def _short(day: str) -> str:
    """Return a day as heads of columns have it: 9 Nov."""
    return f"{date.fromisoformat(day):%-d\u00a0%b}"


def _money(dollars: float) -> str:
    return f"${dollars:.{2 if dollars >= 1 else 4 if dollars >= 0.001 else 6}f}"


async def test_what_a_user_complained_about(person: Person, address: str, sample: Sample) -> None:
    await person.open(address.replace("#/?", "#/traces?since=7d&"))
    await person.see("#traces")
    await person.press("/")
    await person.type("charged TWICE")
    await person.see("#total", "1 trace")
    await person.click(f"tr[data-id='{sample.complaint}']")
    await person.see(".judged", COMPLAINT)
    assert person.clicks <= 2
    assert await person.text(".head h1") == "explain an invoice"
    assert "Why is my invoice in dollars?" in await person.text(".inspector")


async def test_each_view_shows_what_landed(person: Person, address: str, sample: Sample) -> None:
    await person.open(address.replace("#/?", "#/traces?since=7d&"))
    written = [one for one in sample.of("trace") if one["projectId"] == PROJECT]
    await person.see("#total", f"{len(written)} traces")
    await person.click("[data-view=logs]")
    await person.see("#total", f"{len([*sample.of('log')])} lines")
    await person.click("[data-view=metrics]")
    await person.click("#metrics a", "queue depth")
    await person.choose("[aria-label='by label']", "region")
    await person.see("#metrics thead", "region")
    values = [one["value"] for one in sample.of("metric") if one["labels"] == {"region": "us"}]
    [shown] = [row for row in await person.rows("#metrics") if row["region"] == "us"]
    assert (shown["count"], shown["avg"]) == (f"{len(values)}", f"{sum(values) / len(values):.4g}")
    assert len(await person.texts("path.series")) == 2
    await person.click("[data-view=scores]")
    await person.see("#scores tbody tr")
    counts = await person.texts("#scores tbody td:nth-child(3)")
    assert sum(map(int, counts)) == len([*sample.of("score")])
    await person.see("#feedback tbody tr", COMPLAINT)
    await person.click("[data-view=runs]")
    await person.see("#runs tbody tr")
    assert len(await person.texts("#runs tbody tr")) == len({one["run_id"] for one in sample.of("prompt_call")})
    await person.click("#runs tbody a")
    await person.see("#steps li", "write orders")
    [tool] = await person.rows("#run-tools")
    assert tool == {"Tool": "sql", "Calls": "3", "Failed": "0", "Took": "120\u00a0ms"}
    await person.click("[data-view=status]")
    await person.see("#types tr", "span")


async def test_a_time_is_chosen_from_the_bars(person: Person, address: str, sample: Sample) -> None:
    """With the mouse, and with the keys; it is in the address, and the lines are those of that time."""
    await person.open(address.replace("#/?", "#/logs?since=7d&"))
    await person.see("#total", f"{len([*sample.of('log')])} lines")
    times = await person.tab.value("[...document.querySelectorAll('.charts g')].map((one) => Number(one.dataset.at))")
    assert isinstance(times, list)
    every = times[1] - times[0]
    first, last = times[len(times) // 2], times[-1]
    await person.drag(f"g[data-at='{first}'] .hit", f"g[data-at='{last}'] .hit")
    await person.see("#total", f"{_lines(sample, first, last + every)} line")
    assert await _window(person) == [first, last + every]
    await person.see(f"g[data-at='{first}']")
    await person.tab.value("document.querySelector('.brush').focus()")
    await person.press("End")
    await person.press("ArrowLeft", shift=True)
    await person.press("ArrowLeft", shift=True)
    chosen = await person.tab.value(
        "document.querySelector('.brush').parentNode.querySelector('g:nth-last-of-type(3)').dataset.at"
    )
    await person.press("Enter")
    await person.see("#total", f"{_lines(sample, int(str(chosen)), last + every)} line")
    assert (await _window(person))[0] == int(str(chosen))


def _lines(sample: Sample, since: float, until: float) -> int:
    """Return how many log lines have a time between two, in ms."""
    return sum(since <= datetime.fromisoformat(one["timestamp"]).timestamp() * 1000 < until for one in sample.of("log"))


async def _window(person: Person) -> list[float]:
    """Return the times in the address, in ms."""
    asked = "new URLSearchParams(location.hash.split('?')[1])"
    found = await person.tab.value(f"['since', 'until'].map((one) => Date.parse({asked}.get(one)))")
    assert isinstance(found, list)
    return found


async def test_the_histogram_counts_the_durations(person: Person, address: str, sample: Sample) -> None:
    await person.open(address.replace("#/?", "#/traces?since=7d&"))
    chart = "[aria-label^=durations]"
    await person.see(chart)
    titles = await person.tab.value(f"[...document.querySelectorAll('{chart} title')].map((one) => one.textContent)")
    assert isinstance(titles, list)
    edges = [float(f"{step}e{power}") for power in range(-1, 7) for step in (1, 1.5, 2, 3, 5, 7)]
    bins = Counter(bisect(edges, one["durationMs"]) for one in sample.of("trace"))
    shown = [int(title.rpartition(": ")[2].replace(",", "")) for title in titles]
    assert shown == [bins[number] for number in range(min(bins), max(bins) + 1)]
    await person.tab.value(f"document.querySelector('{chart}').focus()")
    await person.press("End")
    await person.press("Enter")
    await person.see("#total", f"{bins[max(bins)]} trace")
    await person.see("#traces tr", SLOW)


async def test_a_scores_values_are_spread_as_written(person: Person, address: str, sample: Sample) -> None:
    await person.open(address.replace("#/?", "#/scores?since=7d&"))
    await person.click("#scores a", "groundedness")
    await person.see("#spread")
    written = [one for one in sample.of("score") if one["name"] == "groundedness"]
    titles = await person.tab.value("[...document.querySelectorAll('#spread title')].map((one) => one.textContent)")
    assert isinstance(titles, list)
    for experiment in ("baseline", "new prompt"):
        values = [one["value"] for one in written if one["experiment"] == experiment]
        for title in titles:
            low, high = (float(one) for one in re.findall(r"[\d.]+", title.partition(":")[0]))
            assert re.findall(rf"{experiment} (\d+)", title) == [f"{sum(low <= value < high for value in values)}"]
        assert sum(int(re.findall(rf"{experiment} (\d+)", title)[0]) for title in titles) == len(values)
    assert len(await person.texts("#scores tbody tr")) == 2
    said = [*sample.of("feedback")]
    await person.see("#types", f"{len(said)} over time")
    thumbs = [one["value"] for one in said if one["feedbackType"] == "thumbs"]
    await person.see("#types .legend", f"thumbs {len(thumbs)}, mean {round(sum(thumbs) / len(thumbs), 3):g}")


async def test_what_lands_appears_by_itself(person: Person, address: str, folder: Path, sample: Sample) -> None:
    """Whatever its time is: what had to wait comes, too."""
    await person.open(address.replace("#/?", f"#/logs?project={LARGE}&"))
    await person.click(".live")
    await person.see(".live.on")
    early = {**next(sample.of("log")), "projectId": LARGE, "timestamp": text(later(sample.now, -3e6))}
    for number, message in enumerate(("it had to wait", "and another")):
        event = {**early, "id": f"late {number}", "message": message}
        drop(folder / "spool", "log", LARGE, f"late{number}.jsonl", lines([event]))
        await person.see("#logs li .message", message)
    assert await person.texts("#logs li .message") == ["and another", "it had to wait"], "each once"
    await person.open(address.replace("#/?", f"#/traces?project={LARGE}&live=1&"))
    await person.see(".live.on")
    trace = {**next(sample.of("trace")), "id": "late", "projectId": LARGE, "name": "a trace that lands"}
    drop(folder / "spool", "trace", LARGE, "late.jsonl", lines([trace]))
    await person.see("#traces tbody tr", "a trace that lands")
    await person.click(".live[aria-pressed=true]")
    await person.see(".live[aria-pressed=false]:not(.on)")


async def test_a_rejected_line_is_shown_to_those_who_have_the_token(person: Person, address: str, folder: Path) -> None:
    line = b'{"type": "span", "id": "s", "name": "' + HOSTILE.encode() + b'"}'
    drop(folder / "spool", "span", LARGE, "wrong.jsonl", line + b"\n")
    await person.open(address.replace("#/?", "#/status?"))
    await person.see("#rejects tr", f"span/{LARGE}/wrong.jsonl:1")
    await person.see("#rejects pre", line.decode())
    told = "fetch('status').then((answer) => answer.text())"
    assert HOSTILE not in str(await person.tab.value(told)), "everybody may ask for the status"
    refused = await person.tab.value("fetch('rejects').then((answer) => answer.status)")
    assert refused == 401
    person.tab.complaints.clear()  # of the 401


async def test_a_score_and_feedback_are_added(person: Person, address: str) -> None:
    """With the keyboard alone: the form says what is wrong, and when what was written has landed."""
    await person.open(address.replace("#/?", f"#/trace/large?project={LARGE}&span=l9900&"))
    await person.see("#span-name", "span 9900")
    await person.tab.value("document.querySelector('.add').focus()")
    await person.press("Enter")
    await person.fill({"name": "comment", "value": "too slow", "comment": "It retries <b>forever</b>"})
    await person.see(".judge-state", "It has landed.")
    await person.see(".judged .own", "too slow comment explorer")
    await person.see(".judged .own", "It retries <b>forever</b>")
    await person.open(address.replace("#/?", f"#/scores?project={LARGE}&"))
    await person.click(".add")
    await person.choose(".judge select", "score")
    await person.fill({"name": "politeness", "value": "very", "trace": "large"})
    await person.see(".judge [role=alert]", "value")
    person.tab.complaints.clear()  # of the refusal
    await person.tab.value("document.querySelector('.judge [name=value]').select()")
    await person.fill({"value": "0.25"})
    await person.see(".judge-state", "It has landed.")
    await person.see("#scores tbody tr", "politeness")
    [row] = [row for row in await person.rows("#scores") if row["Score"] == "politeness"]
    assert (row["Count"], row["Mean"]) == ("1", "0.25"), "what was refused is not there"
    await person.see("#feedback tbody tr", "It retries <b>forever</b>")


async def test_a_view_says_what_it_waits_for_and_what_is_wrong(person: Person, address: str) -> None:
    await person.open(address.replace("#/?", "#/traces?q=nothing is like this&"))
    await person.see(".list .blank", "No trace is like that.")
    await person.tab.call("Network.enable")
    slow = {"offline": False, "latency": 5000, "downloadThroughput": -1, "uploadThroughput": -1}
    await person.tab.call("Network.emulateNetworkConditions", **slow)
    await person.click(".blank button", "All of 30 days")
    await person.see(".list .loading i")
    await person.tab.call("Network.emulateNetworkConditions", **{**slow, "latency": 0})
    await person.see("#traces tbody tr")
    await person.open(address.replace("#/?", "#/traces?order=color&"))
    await person.see(".blank.bad", "order: 'color' is not one of")
    await person.see(".blank.bad button", "Ask again")
    person.tab.complaints.clear()  # of the 400


async def test_a_trace_that_is_too_much_for_one_answer_is_shown_in_parts(
    person: Person, address: str, folder: Path
) -> None:
    start = datetime.now(UTC)
    spans = [
        {
            "type": "span", "id": f"h{number}", "traceId": "huge", "projectId": LARGE, "name": f"part {number}",
            "startTime": text(later(start, number)), "endTime": text(later(start, number + 1)),
            "attributes": {"size": number, "text": "x" * 1_000_000},
        }
        for number in range(68)
    ]  # fmt: skip
    drop(folder / "spool", "span", LARGE, "huge.jsonl.gz", gzip.compress(lines(spans), 1))
    await person.open(address.replace("#/?", "#/status?"))
    await person.see("#files tr", "huge.jsonl.gz")
    await person.open(address.replace("#/?", f"#/trace/huge?project={LARGE}&"))
    await person.see(".note", "too much for one answer")
    await person.see(".head", "68 spans")
    await person.see("#span-name", "part 67")
    # A line that is to be seen: one that is scrolled to is drawn anew, perhaps between press and release.
    await person.click(".line", "part 66")
    await person.see("#span-name", "part 66")
    await person.see(".tree .number", "66")
    person.tab.complaints.clear()  # of the 504


async def test_a_click_on_a_span_counts_though_the_list_hears_of_a_scroll_meanwhile(
    person: Person, address: str
) -> None:
    """What is drawn anew between press and release gets no click."""
    await person.open(address.replace("#/?", f"#/trace/large?project={LARGE}&span=l9900&"))
    await person.see("#span-name", "span 9900")
    await person.see("#s-l9898")
    middle = "(({ left, top, height }) => [left + 9, top + height / 2])"
    place = await person.tab.value(f"{middle}(document.querySelector('#s-l9898').getBoundingClientRect())")
    assert isinstance(place, list)
    at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
    frames = "new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(() => go(true))))"
    await person.tab.value(frames)
    await person.tab.call("Input.dispatchMouseEvent", type="mousePressed", buttons=1, **at)
    await person.tab.value(f"document.querySelector('[role=tree]').dispatchEvent(new Event('scroll')) && {frames}")
    await person.tab.call("Input.dispatchMouseEvent", type="mouseReleased", **at)
    await person.see("#span-name", "span 9898")


async def test_a_phone_shows_each_view_in_its_width(person: Person, address: str, sample: Sample) -> None:
    size = {"deviceScaleFactor": 1, "mobile": True}
    await person.tab.call("Emulation.setDeviceMetricsOverride", width=390, height=844, **size)
    places = {
        "traces": "#total", f"trace/{sample.slow}": "#span-name", "logs": "#total", "cost": "#spans-cost",
        "metrics": "#metrics", "scores": "#scores", "runs": "#runs", "run/run-7-2": "#steps", "status": "#types",
    }  # fmt: skip
    wide = (
        "document.documentElement.scrollWidth > innerWidth || document.querySelector('main').scrollWidth > innerWidth"
    )
    last = "document.querySelector('nav a:last-child').getBoundingClientRect().right > innerWidth"
    try:
        for place, there in places.items():
            await person.open(address.replace("#/?", f"#/{place}?since=7d&project={PROJECT}&"))
            await person.see(there)
            assert [await person.tab.value(one) for one in (wide, last)] == [False, False], place
    finally:
        await person.tab.call("Emulation.setDeviceMetricsOverride", width=1280, height=800, **{**size, "mobile": False})


async def test_hostile_text_stays_text(person: Person, address: str, sample: Sample) -> None:
    await person.open(address.replace("#/?", f"#/trace/{sample.hostile}?project={PROJECT}&"))
    await person.see("#span-name", HOSTILE)
    await person.see(".tree", HOSTILE)
    await person.see(".log-lines", HOSTILE)
    assert await person.tab.value("document.querySelectorAll('img').length") == 0
    forbidden = "try { document.body.innerHTML = '<b>x</b>'; 'made' } catch (error) { error.name }"
    assert await person.tab.value(forbidden) == "TypeError", "the policy lets no text become markup"
    person.tab.complaints.clear()  # of the line above


async def test_a_trace_of_ten_thousand_spans_stays_light(person: Person, address: str) -> None:
    await person.open(address.replace("#/?", f"#/trace/large?project={LARGE}&"))
    await person.see(".head", "10,000 spans")
    await person.see("#span-name")
    await person.press("Home")
    await person.see("#span-name", "span 0")
    await person.press("End")
    await person.see("#span-name", "span 9999")
    await person.see(".line.chosen", "span 9999")
    lines_made = await person.tab.value("document.querySelectorAll('.line').length")
    assert isinstance(lines_made, int)
    assert lines_made < 100, "only what can be seen is in the page"
    await person.press("ArrowLeft")
    await person.see("#span-name", "span 9900")
    await person.press("ArrowLeft")
    await person.see(".line.chosen[aria-expanded=false]", "+99")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_in_the_way_of_people_who_cannot_see_or_click(
    person: Person, address: str, sample: Sample, scheme: str
) -> None:
    await person.tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await person.tab.call("Page.setBypassCSP", enabled=True)  # for axe's script alone
    places = {
        "traces?since=7d": "#total", f"trace/{sample.failed}?since=7d": "#span-error", "logs?since=7d": "#total",
        "cost?since=7d": "#spans-cost", "metrics?since=7d&name=queue depth": "#metrics",
        "scores?since=7d&name=groundedness": "#spread", "runs?since=7d": "#runs",
        "run/run-7-2?since=7d": "#steps", "status?": "#types",
    }  # fmt: skip
    found: dict[str, object] = {}
    try:
        for place, there in places.items():
            await person.open(address.replace("#/?", f"#/{place}&project={PROJECT}&"))
            await person.see(there)
            await person.tab.value("document.querySelector('.add')?.click()")
            await person.tab.call("Runtime.evaluate", expression=axe.script())
            found[place] = await person.tab.value("""axe.run().then((all) => all.violations.map((one) => one.id + ": " +
                one.nodes.slice(0, 3).map((node) => node.html + node.any.map((why) => why.message)).join(" | ")))""")
    finally:
        await person.tab.call("Page.setBypassCSP", enabled=False)
        await person.tab.call("Emulation.setEmulatedMedia", features=[])
    assert {place: wrong for place, wrong in found.items() if wrong} == {}


async def test_a_store_that_is_away_is_seen_in_every_view(person: Person, tmp_path: Path) -> None:
    spool, path = tmp_path / "spool", tmp_path / "events.db"
    event = Sample(traces=1).events[0]
    with closing(duckdb.connect(path)) as other, Daemon(f"duckdb://{path}", spool, http="any port") as daemon:
        url = str((await asyncio.to_thread(daemon.wait_for, "http_listening"))[0]["url"])
        drop(spool, "trace", PROJECT, "a.jsonl", lines([event]))
        for view in ("traces", "logs", "cost", "metrics", "scores", "runs", "status"):
            await person.open(f"{url}/#/{view}")
            await person.see("#state.wait")
            await person.see("#reasons .since", "since ")
            await person.see("#reasons .safe", "Nothing is lost")
        other.close()
        await person.see("#state.good", "running")
        await person.see("#files tr", "trace/shop/a.jsonl")
        assert await person.texts("#reasons li") == []


async def test_the_page_is_small_and_its_own() -> None:
    files = [path for path in EXPLORER.rglob("*") if path.suffix in {".html", ".css", ".js"}]
    assert sum(path.stat().st_size for path in files) < 150_000
    assert [path.name for path in files if "://" in path.read_text().replace("http://www.w3.org/2000/svg", "")] == []
