"""Scores and feedback that are written over HTTP: durable when they are answered, landed once, refused in words."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Database
from tests.faults.life import wait_until
from tests.faults.test_disk import fill, small_disk
from tests.process.daemon import once
from tests.process.serving import serving
from tests.process.test_live import Served, running
from tests.process.test_serve import OF_SHOP, ask
from tests.query.landed import PREFIX, at, feedback, score

SCORE = score(1, id="c1", comment="why")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tmp_path_factory.mktemp("written")) as found:
        yield found


def send(served: Served, route: str, event: object, **headers: str) -> tuple[int, Any]:
    own = {"Authorization": f"Bearer {served.token}", **headers}
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    request = urllib.request.Request(f"{served.url}/api/v1/{route}", body, own)  # noqa: S310  # the daemon's
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def landed(served: Served, route: str, **asked: object) -> list[dict[str, Any]]:
    status, page = ask(served.url, f"{route}/page", token=served.token, project="shop", **asked)
    assert status == 200, page
    found: list[dict[str, Any]] = page["records"]
    return found


def lands(served: Served, route: str, name: str) -> dict[str, Any]:
    """Return the one record of that id, once it is there."""
    wait_until(lambda: bool(landed(served, route, id=name)))
    [found] = landed(served, route, id=name)
    return found


def settled(served: Served) -> int:
    """Return how many lines of scores were settled."""
    found = [one for one in served.daemon.events("file_settled") if str(one["path"]).startswith("score/")]
    return sum(int(str(one["lines"])) for one in found)


def has_landed(served: Served, name: str, comment: str) -> bool:
    return bool(lands(served, "scores", name)["comment"] == comment)


def is_settled(served: Served, count: int) -> bool:
    return settled(served) >= count


def test_what_is_sent_again_lands_once(served: Served) -> None:
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: send(served, "scores", SCORE), range(3)))
    assert answers == [(202, {"id": "c1", "timestamp": SCORE["timestamp"]})] * 3
    assert send(served, "scores", SCORE)[0] == 202
    wait_until(lambda: settled(served) == 1)
    found = lands(served, "scores", "c1")
    assert (found["name"], found["value"], found["comment"], found["trace_id"]) == ("accuracy", 0.1, "why", "t001")
    for value in (5, "5"):
        event = {"projectId": "shop", "source": "user", "feedbackType": "rating", "value": value, "traceId": "t001"}
        status, answer = send(served, "feedback", event)
        assert status == 202, "it is given an id, and the time"
        found = lands(served, "feedback", answer["id"])
        assert (found["value"], type(found["value"])) == (value, float if value == 5 else str)
    for count, comment in ((2, "changed"), (3, "why")):
        assert send(served, "scores", {**SCORE, "comment": comment})[0] == 202
        wait_until(partial(has_landed, served, "c1", comment))
        wait_until(partial(is_settled, served, count))
    assert settled(served) == 3, "what was sent again unchanged was written once, so that rollups count it once"


def test_what_would_be_rejected_is_refused_in_words(served: Served) -> None:
    given = {key: value for key, value in SCORE.items() if key != "timestamp"}
    refused: list[tuple[object, str]] = [
        (b"[]", "no JSON object"), (b"{", "no JSON object"), (b"\xff", "no JSON object"), ({}, "projectId"),
        ({**SCORE, "projectId": 5}, "projectId"), ({**SCORE, "projectId": "a/b"}, "path separator"),
        ({**SCORE, "projectId": ".x"}, "hidden"), ({**SCORE, "project_id": "other"}, "project_id"),
        ({**SCORE, "type": "trace"}, "type: score"), ({**SCORE, "id": 5}, "id: a text"),
        ({**SCORE, "id": ""}, "id: a text"), (given, "with a timestamp"),
        ({**SCORE, "value": "much"}, "value"), ({**SCORE, "timestamp": "once"}, "timestamp"),
        ({**SCORE, "coment": "x"}, "comment"), ({**SCORE, "data": {}}, "data"),
        (feedback(1, type="score"), "feedbackType"),
    ]  # fmt: skip
    for event, said in refused:
        status, found = send(served, "scores", event)
        assert (status, found.keys() - {"fix"}) == (400, {"error"}), event
        assert said in " ".join(found.values()), found
    assert send(served, "scores", b" " * (2 << 20))[0] == 413
    assert send(served, "scores", SCORE, Origin="https://elsewhere.example")[0] == 403
    assert send(served, "scores", SCORE, Authorization="Bearer x")[0] == 401
    assert served.daemon.get("/api/v1/scores").code == 405
    kept = [path for path in served.spool.rglob("*") if path.is_file() and ".spoolhouse" not in path.parts]
    assert [path for path in kept if "processed" not in path.parts] == [], "nothing is left of what was refused"


def test_what_was_answered_survives_a_full_disk_and_a_kill(tmp_path: Path) -> None:
    events = [score(number, id=f"c{number}", timestamp=at(number)) for number in range(20)]
    with small_disk(tmp_path / "small") as spool:
        with running(tmp_path, spool=spool) as served:
            assert send(served, "scores", events[0])[0] == 202
            ballast = spool / ".ballast"
            served.daemon.wait_for("file_settled")
            full = (507, {"error": "the spool's disk is full", "fix": "free space on it, and send this again"})

            def is_refused() -> bool:
                fill(ballast)  # what the daemon does meanwhile may free some bytes
                return send(served, "scores", events[1]) == full

            wait_until(is_refused)
            ballast.unlink()
            assert [send(served, "scores", event)[0] for event in events] == [202] * 20
            served.daemon.kill()
        with running(tmp_path, spool=spool) as served:
            wait_until(lambda: len(landed(served, "scores")) == 20)
            assert sorted(one["id"] for one in landed(served, "scores")) == sorted(event["id"] for event in events)


def test_over_clickhouse_for_the_projects_of_a_token(database: Database, tmp_path: Path) -> None:
    spool, tokens, url = tmp_path / "spool", tmp_path / "tokens", database.http_url
    tokens.write_text(f"{OF_SHOP} shop\n")
    with serving("--clickhouse-url", url, "--tokens", tokens) as page:
        status, found = ask(page, "scores", token=OF_SHOP, **SCORE)
        assert (status, "--file-storage-path" in found["fix"]) == (501, True)
    with serving("--clickhouse-url", url, "--tokens", tokens, "--file-storage-path", spool, "--base-path", "") as page:
        status, found = ask(page, "scores", token=OF_SHOP, **SCORE)
        assert (status, "missing" in found["error"]) == (503, True), "a spool that is not mounted is not made"
        spool.mkdir()
        assert ask(page, "scores", token=OF_SHOP, **{**SCORE, "projectId": "billing"})[0] == 403
        assert ask(page, "scores", token=OF_SHOP, **SCORE) == (202, {"id": "c1", "timestamp": SCORE["timestamp"]})
    assert once(database.native_url, spool)[0] == 0
    assert database.query(f"SELECT project_id, id, value FROM {PREFIX}scores") == [("shop", "c1", 0.1)]
