"""Jaeger's five routes, asked as Grafana's source and Jaeger's own page ask them."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.process.daemon import Daemon, drop, lines
from tests.query.landed import NOW, span, trace

EXCEPTION = {"name": "exception", "attributes": {"exception.message": "no stock"}}


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("jaeger")
    events = [
        trace(1), trace(2), span(1, traceId="t001", name="checkout", durationMs=1500),
        span(2, traceId="t001", parentSpanId="s001", name="pay", status="error", kind="client",
             attributes={"http.status_code": 402, "retry": True, "card": {"last4": "1881"}}, events=[EXCEPTION]),
        span(3, traceId="t002", name="browse"),
    ]  # fmt: skip
    with Daemon(f"duckdb://{folder}/events.db", folder / "spool", http="any port") as daemon:
        for number, event in enumerate(events):
            drop(folder / "spool", str(event["type"]), "shop", f"{number}.jsonl", lines([event]))
        daemon.wait_for("file_settled", count=len(events))
        yield json.loads((folder / "events.db.daemon").read_bytes())


def ask(way: dict[str, Any], path: str, **asked: object) -> tuple[int, Any]:
    """Return the status, and the data."""
    query = f"?{urlencode(asked)}" if asked else ""
    request = urllib.request.Request(f"{way['url']}{path}{query}", headers={"Authorization": f"Bearer {way['token']}"})  # noqa: S310  # ours
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
            return answer.status, json.loads(answer.read())["data"]
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def found(way: dict[str, Any], **asked: object) -> list[str]:
    """Return the ids of a search in the last hour, as Grafana sends it."""
    end = int(NOW.timestamp() * 1_000_000)
    window = {"start": end - 3_600_000_000, "end": end, "lookback": "custom", "limit": 20}
    status, data = ask(way, "/api/traces", service="shop", **window, **asked)
    assert status == 200, data
    return [one["traceID"] for one in data]


def test_services_and_operations_are_there_to_choose_from(way: dict[str, Any]) -> None:
    assert ask(way, "/api/services") == (200, ["shop"])
    assert ask(way, "/api/services/shop/operations") == (200, ["browse", "checkout", "pay"])
    assert ask(way, "/api/dependencies", endTs=1, lookback=1) == (200, [])


def test_traces_are_searched(way: dict[str, Any]) -> None:
    assert found(way) == ["t001", "t002"]
    assert found(way, operation="browse") == ["t002"]
    assert found(way, tags='{"error":"true"}') == ["t001"]
    assert found(way, tags='{"http.status_code":"402"}') == ["t001"]
    assert found(way, minDuration="31s") == []
    assert found(way, minDuration="29.5s", maxDuration="1m") == ["t001", "t002"]
    assert ask(way, "/api/traces", service="shop", minDuration="long")[0] == 400
    assert ask(way, "/api/traces")[0] == 400


def test_a_trace_has_what_was_written(way: dict[str, Any]) -> None:
    status, [one] = ask(way, "/api/traces/t001")
    assert (status, one["processes"]) == (200, {"p2": {"serviceName": "shop", "tags": []}})
    spans = {each["operationName"]: each for each in one["spans"]}
    assert spans["checkout"]["references"] == []
    assert (spans["checkout"]["duration"], spans["checkout"]["spanID"]) == (1_500_000, "s001")
    pay = spans["pay"]
    assert pay["references"] == [{"refType": "CHILD_OF", "traceID": "t001", "spanID": "s001"}]
    tags = {each["key"]: (each["type"], each["value"]) for each in pay["tags"]}
    assert tags == {
        "span.kind": ("string", "client"), "error": ("bool", True), "http.status_code": ("int64", 402),
        "retry": ("bool", True), "card": ("string", '{"last4":"1881"}'),
    }  # fmt: skip
    fields = {each["key"]: each["value"] for each in pay["logs"][0]["fields"]}
    assert fields["name"] == "exception"
    assert "no stock" in fields["attributes"]
    assert ask(way, "/api/traces/none") == (404, "no trace 'none'")


def test_who_has_no_token_gets_no_answer(way: dict[str, Any]) -> None:
    assert ask({**way, "token": "x"}, "/api/services")[0] == 401
