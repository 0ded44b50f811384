"""The HTTP API of a daemon that lands in a DuckDB file: answers, refusals, and limits."""

import json
import stat
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from jsonschema import Draft202012Validator

from spoolhouse.query.requests import LISTS
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, drop, lines
from tests.query.landed import at, feedback, log, metric, prompt, score, span, step, trace

HEAVY = "SELECT count(*) FROM range(1000000000000)"
"""It would take hours."""


class Served(NamedTuple):
    daemon: Daemon
    path: Path
    spool: Path

    @property
    def address(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.with_name("events.db.daemon").read_bytes())
        return found

    def ask(self, route: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> tuple[int, Any]:
        """Return the status, and what the JSON says."""
        return self.send(route, json.dumps(fields).encode(), headers=headers)

    def send(self, route: str, body: bytes, *, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        own = {"Authorization": f"Bearer {self.address['token']}", **(headers or {})}
        request = urllib.request.Request(f"{self.address['url']}/api/v1/{route}", body, own)  # noqa: S310  # the daemon's
        try:
            response = urllib.request.urlopen(request, timeout=60)  # noqa: S310  # as above
        except urllib.error.HTTPError as error:
            response = error
        with response:
            assert response.headers["Content-Type"] == "application/json"
            assert response.headers["Cache-Control"] == "no-store"
            assert ("Retry-After" in response.headers) == (response.status == 503)
            return response.status, json.loads(response.read())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon that has landed some of everything."""
    folder = tmp_path_factory.mktemp("api")
    spool, path = folder / "spool", folder / "events.db"
    events = [
        *(trace(n) for n in range(5)), span(1, traceId="t001", name="root"),
        span(2, traceId="t001", parentSpanId="s001", attributes={"big": 2**70, "text": "ü"}), log(1, traceId="t001"),
        metric(1), score(1), feedback(1), prompt(1), step(1),
    ]  # fmt: skip
    with Daemon(f"duckdb://{path}", spool, http="any port") as daemon:
        for number, event in enumerate(events):
            drop(spool, str(event.get("type") or event["event_type"]), "shop", f"{number}.jsonl", lines([event]))
        daemon.wait_for("file_settled", count=len(events))
        yield Served(daemon, path, spool)


def test_lists_come_page_by_page(served: Served) -> None:
    found: list[str] = []
    cursor = None
    while cursor is not None or not found:
        asked: dict[str, Any] = {
            "project": "shop",
            "page_size": 2,
            "status": ["ok", "error"],
            "since": "2h",
            "cursor": cursor,
        }
        status, page = served.ask("traces", **asked)
        assert (status, page["truncated"]) == (200, page["cursor"] is not None), page
        found += [record["trace_id"] for record in page["records"]]
        cursor = page["cursor"]
    assert found == ["t000", "t001", "t002", "t003", "t004"]
    assert served.ask("traces/count", project="shop") == (200, {"count": 5})


def test_a_trace_has_all_that_belongs_to_it(served: Served) -> None:
    status, found = served.ask("trace", project="shop", trace_id="t001", lines=True)
    assert (status, found["trace"]["name"], found["truncated"]) == (200, "checkout 1", False)
    assert [span["attributes"] for span in found["spans"] if span["span_id"] == "s002"] == [{"big": 2**70, "text": "ü"}]
    assert {line["type"] for line in found["lines"]} == {"trace", "span", "log", "score", "feedback"}
    status, found = served.ask("structure", project="shop", trace_id="t001")
    assert {span["span_id"]: span["attributes"] for span in found["spans"]} == {"s001": None, "s002": None}
    status, found = served.ask("branch", project="shop", trace_id="t001", span_id="s002")
    assert [span["span_id"] for span in found["spans"]] == ["s002"]


def test_figures_values_and_statements(served: Served) -> None:
    status, found = served.ask("figures", signal="trace", project="shop", of=["count", "errors"], by=["name"])
    counts = {row["by"]["name"]: (row["values"]["count"], row["values"]["errors"]) for row in found["rows"]}
    assert (status, counts) == (200, {"checkout 0": (2, 1), "checkout 1": (2, 1), "checkout 2": (1, 0)})
    assert served.ask("values", what="names", project="shop") == (200, {"values": ["queue 1"]})
    status, found = served.ask("runs", project="shop")
    assert [(run["run_id"], run["events"]) for run in found["runs"]] == [("r0", 1), ("r1", 1)]
    statement = "SELECT span_id AS id, 1.5 AS number, NULL AS nothing FROM mastra_admin_spans ORDER BY id"
    assert served.ask("sql", statement=statement, limit=1) == (
        200, {"columns": ["id", "number", "nothing"], "rows": [["s001", 1.5, None]]},
    )  # fmt: skip


def test_what_is_not_accepted_is_said_in_words(served: Served) -> None:
    shop = {"project": "shop"}
    refused: list[tuple[str, dict[str, Any]]] = [
        ("traces", {}), ("traces", {**shop, "all_projects": True}), ("traces", {**shop, "color": "red"}),
        ("traces", {**shop, "name": 5}), ("traces", {**shop, "label": ["x"]}), ("traces", {**shop, "limit": 0}),
        ("traces", {**shop, "where": {"field": "name"}}), ("traces", {**shop, "since": "yesterday"}),
        ("traces", {**shop, "cursor": "x"}), ("traces", {**shop, "offset": -1}), ("traces", {**shop, "order": [1]}),
        ("trace", shop), ("trace", {**shop, "trace_id": 1}), ("branch", {**shop, "trace_id": "t001"}),
        ("figures", {**shop, "signal": "span", "every": {"a": 1}}),
        ("figures", {**shop, "signal": "span", "filters": 1}),
        ("figures", {**shop, "signal": "span", "compare": ["x"]}), ("values", {**shop, "what": "passwords"}),
        ("runs", {**shop, "limit": 0}), ("sql", {"statement": "DROP TABLE mastra_admin_spans"}),
        ("sql", {"statement": "FROM '/etc/passwd'"}), ("sql", {"statement": "FROM read_text('/etc/passwd')"}),
        ("sql", {"statement": "SELECT 1; SELECT 2"}), ("sql", {"statement": "COPY (SELECT 1) TO '/tmp/x'"}),
    ]  # fmt: skip
    for route, asked in refused:
        status, found = served.ask(route, **asked)
        assert (status, found.keys() - {"fix"}) == (400, {"error"}), (route, asked, found)
        assert all(found.values()), (route, asked, found)
    assert served.ask("traces")[1]["fix"] == "name one project, or set all_projects to true"
    for name, fix in (
        ("spans", "did you mean mastra_admin_spans?"), ("mastra_admin_span", "did you mean mastra_admin_spans?"),
        ("zzzzzz", "see `SELECT table_name FROM duckdb_tables`"),
    ):  # fmt: skip
        assert served.ask("sql", statement=f"SELECT * FROM {name}")[1]["fix"] == fix
    assert ["mastra_admin_spans"] in served.ask("sql", statement="SELECT table_name FROM duckdb_tables")[1]["rows"]
    for body in (b"[]", b"{", b"\xff", b"[" * 100_000):
        assert served.send("traces", body)[0] == 400
    assert served.send("traces", b" " * (2 << 20))[0] == 413
    assert served.ask("trace", project="shop", trace_id="none")[0] == 404
    assert served.ask("trace", project="other", trace_id="t001")[0] == 404
    assert served.ask("nothing")[0] == 404
    large = "SELECT repeat('x', 1000000) FROM range(100)"
    status, found = served.ask("sql", statement=large)
    assert (status, "too large" in found["error"]) == (504, True)


def test_nobody_asks_who_may_not(served: Served) -> None:
    """The token is in a file for the daemon's user; a browser on another site is refused in any case."""
    assert stat.S_IMODE(served.path.with_name("events.db.daemon").stat().st_mode) == 0o600
    for headers, expected in [
        ({"Authorization": ""}, 401), ({"Authorization": "Bearer x"}, 401), ({"Authorization": "Bearer ü"}, 401),
        ({"Origin": "https://elsewhere.example"}, 403), ({"Origin": "null"}, 403),
        ({"Origin": served.address["url"]}, 200),
    ]:  # fmt: skip
        assert served.ask("traces", project="shop", headers=headers)[0] == expected, headers
    own = urlsplit(served.address["url"])
    connection = HTTPConnection(str(own.hostname), own.port)
    connection.request("POST", "/api/v1/traces", b"{}", {"Host": "elsewhere.example"})
    assert connection.getresponse().status == 421
    connection.close()
    assert served.daemon.get("/api/v1/traces").code == 405
    assert served.daemon.get("/api/v1/sql").code == 405


SHOP = {"project": "shop"}
GOOD: dict[str, dict[str, Any]] = {
    **{name: {**SHOP, "limit": 2} for name in ("traces", "spans", "logs", "metrics", "events")},
    **{f"{name}/page": {**SHOP, "light": True} for name in ("scores", "feedback")},
    **{f"{name}/{what}": SHOP for name in LISTS for what in ("delta", "count", "live")},
    "runs": SHOP, "trace": {**SHOP, "trace_id": "t001", "lines": True}, "trace/spans": {**SHOP, "trace_id": "t001"},
    "structure": {**SHOP, "trace_id": "t001"}, "branch": {**SHOP, "trace_id": "t001", "span_id": "s001"},
    "event": {**SHOP, "event_id": "e001"}, "steps": {**SHOP, "run_id": "r0"},
    "figures": {**SHOP, "signal": "trace", "of": ["count", "p95"], "every": "1h", "compare": "previous_day"},
    "values": {**SHOP, "what": "names"}, "projects": {}, "sql": {"statement": "SELECT 1 AS one"},
    "scores": score(2, id="written"), "feedback": feedback(2, id="written"),
}  # fmt: skip
"""A question of each route."""
PLACES = {"service": "shop", "id": "t001"}


def test_each_route_does_what_the_document_says(served: Served) -> None:
    """A good request, a wrong one, and one without a token; the document itself needs none."""
    whole = json.loads(served.daemon.get("/api/v1/openapi.json").body)

    def check(response: dict[str, Any], body: Any, at: str) -> None:
        name = response.get("$ref", "").rpartition("/")[2]
        schema = (whole["components"]["responses"][name] if name else response)["content"]["application/json"]["schema"]
        wrong = Draft202012Validator({**schema, "components": whole["components"]}).iter_errors(body)
        assert [(at, error.message) for error in wrong] == []

    walked = set()
    for path, methods in whole["paths"].items():
        for method, operation in methods.items():
            name = path.removeprefix("/api/v1/")
            answers = operation["responses"]
            good, *_ = answers
            if method == "post":
                walked.add(name)
                asked = operation["requestBody"]["content"]["application/json"]["schema"]
                check({"content": {"application/json": {"schema": asked}}}, GOOD[name], path)
                wrong = {**GOOD[name], "colour": 1}
                for headers, body, expected in (({"Authorization": ""}, GOOD[name], 401), ({}, wrong, 400)):
                    status, found = served.ask(name, headers=headers, **body)
                    assert status == expected, (path, found)
                    check(answers[str(status)], found, path)
                if "text/event-stream" in answers[good]["content"]:
                    continue  # tests/process/test_live.py reads them
                status, found = served.ask(name, **GOOD[name])
            else:
                status, found = get_with_token(served, path.format(**PLACES) + "?service=shop")
            assert str(status) == good, (path, found)
            check(answers[good], found, path)
    assert walked == GOOD.keys()


def get_with_token(served: Served, path: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {served.address['token']}"}
    request = urllib.request.Request(f"{served.address['url']}{path}", headers=headers)  # noqa: S310  # the daemon's
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
        return answer.status, json.loads(answer.read())


def begin(served: Served, stack: ExitStack) -> HTTPConnection:
    """Ask a question whose answer nobody will read."""
    own = urlsplit(served.address["url"])
    connection = HTTPConnection(str(own.hostname), own.port)
    stack.callback(connection.close)
    headers = {"Authorization": f"Bearer {served.address['token']}"}
    connection.request("POST", "/api/v1/sql", json.dumps({"statement": HEAVY}), headers)
    return connection


def test_heavy_questions_do_not_stop_the_daemon(served: Served) -> None:
    with ExitStack() as stack:
        for _ in range(4):
            begin(served, stack)
        wait_until(lambda: served.ask("values", what="names", project="shop")[0] == 503)
        drop(served.spool, "log", "shop", "meanwhile.jsonl", lines([log(7, timestamp=at(0))]))
        wait_until(lambda: bool(served.daemon.events("file_settled", path="log/shop/meanwhile.jsonl")))
        assert served.daemon.get("/livez").code == 200
    wait_until(lambda: served.ask("values", what="names", project="shop")[0] == 200)
