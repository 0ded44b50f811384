"""Live tail over HTTP: what has landed comes as server-sent events, each record once, as long as somebody reads."""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import pytest

from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, drop, lines
from tests.process.serving import serving
from tests.process.test_serve import OF_SHOP, ask
from tests.query.landed import land, log

MOST_STREAMS = 16
ROOM = {"SPOOLHOUSE_SPOOL__MIN_FREE": "0"}


class Message(NamedTuple):
    event: str
    id: str
    data: Any


class Stream:
    """One stream, read line by line."""

    def __init__(self, url: str, token: str | None, name: str, *, last: str | None = None, **asked: object) -> None:
        own = urlsplit(url)
        self.connection = HTTPConnection(str(own.hostname), own.port, timeout=120)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        headers |= {} if last is None else {"Last-Event-ID": last}
        self.connection.request("POST", f"/api/v1/{name}/live", json.dumps(asked), headers)
        self.answer: HTTPResponse = self.connection.getresponse()

    def lines(self) -> Iterator[str]:
        while line := self.answer.readline():
            yield from line.decode().rstrip("\n").split("\r")  # each ends a line

    def next(self) -> Message:
        """Return the next message; comments are passed over."""
        found: dict[str, str] = {}
        for line in self.lines():
            if not line and found:
                return Message(found.get("event", ""), found.get("id", ""), json.loads(found["data"]))
            name, _, value = line.partition(": ")
            if name:
                found[name] = value
        raise EOFError

    def ids(self, count: int) -> list[str]:
        """Return the ids of the next records."""
        found: list[str] = []
        while len(found) < count:
            found += [record["id"] for record in self.next().data["records"]]
        return found

    def expect_end(self) -> None:
        """Read on until the stream ends whole: for one that was cut off, `read` raises `IncompleteRead`."""
        self.answer.read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.answer.close()
        self.connection.close()


class Served(NamedTuple):
    daemon: Daemon
    spool: Path
    url: str
    token: str

    def stream(self, **asked: Any) -> Stream:
        return Stream(self.url, self.token, "logs", **{"project": "shop", **asked})

    def land(self, *numbers: int, **fields: object) -> None:
        name = "-".join(map(str, numbers))[:60]
        drop(self.spool, "log", "shop", f"{name}.jsonl", lines([log(number, **fields) for number in numbers]))
        self.daemon.wait_for("file_settled", path=f"log/shop/{name}.jsonl")


@contextmanager
def running(folder: Path, *, prelude: str = "", spool: Path | None = None) -> Iterator[Served]:
    """Run a daemon over a DuckDB file in a folder."""
    spool, path = spool or folder / "spool", folder / "events.db"
    with Daemon(f"duckdb://{path}", spool, http="any port", prelude=prelude, env=ROOM) as daemon:
        daemon.wait_for("started")
        way = json.loads(path.with_name("events.db.daemon").read_bytes())
        yield Served(daemon, spool, way["url"], way["token"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tmp_path_factory.mktemp("live")) as found:
        yield found


def test_a_carriage_return_between_words_ends_no_message(served: Served) -> None:
    with served.stream(lines=True) as stream:
        assert stream.next().data["records"] == []
        event = json.dumps(log(700)).replace("{", '{"more": {"a":\r1}, ', 1)
        drop(served.spool, "log", "shop", "return.jsonl", event.encode() + b"\n")
        message = stream.next()
        assert message.data["lines"][0]["more"] == {"a": 1}


def test_what_lands_is_sent_once_and_goes_on_where_a_stream_ended(served: Served) -> None:
    served.land(1, 2)
    with served.stream() as stream:
        assert stream.answer.status == 200
        assert stream.answer.headers["Content-Type"] == "text/event-stream"
        assert stream.answer.headers["Cache-Control"] == "no-store"
        first = stream.next()
        assert (first.event, first.data["records"]) == ("", []), "what was there before is no news"
        served.land(30)
        served.land(3, level="error")
        assert stream.ids(2) == ["l030", "l003"], "a line of an older time comes, too"
    served.land(4)
    # By the standard's header, which a browser's EventSource sends; and as the cursor of a delta.
    for again in (served.stream(last=first.id), served.stream(after=first.id)):
        with again:
            assert sorted(again.ids(3)) == ["l003", "l004", "l030"]


def test_only_what_is_asked_for_is_sent_and_a_quiet_stream_says_that_it_is_there(served: Served) -> None:
    with served.stream(level="error") as errors:
        errors.next()
        served.land(5, level="info")
        served.land(7, level="error")
        assert errors.ids(1) == ["l007"]
        assert next(line for line in errors.lines() if line).startswith(": ")


def test_light_records_have_no_long_columns(served: Served) -> None:
    with served.stream(light=True) as light, served.stream() as whole:
        light.next()
        whole.next()
        served.land(8, attributes={"why": "card declined"})
        [short], [long] = (one.next().data["records"] for one in (light, whole))
        assert short["id"] == long["id"] == "l008"
        assert (short.get("attributes"), long["attributes"]) == (None, {"why": "card declined"})


def test_what_is_no_question_is_refused_before_a_stream_begins(served: Served) -> None:
    shop = {"project": "shop"}
    assert ask(served.url, "logs/live", **shop)[0] == 401
    for asked in ({}, {**shop, "color": "red"}, {**shop, "after": "x"}, {**shop, "limit": 101}):
        status, found = ask(served.url, "logs/live", token=served.token, **asked)
        assert (status, found.keys() - {"fix"}) == (400, {"error"}), asked
    assert ask(served.url, "runs/live", token=served.token, **shop)[0] == 404


def test_streams_are_so_many_and_leave_room_for_others(served: Served) -> None:
    def status() -> int:
        with served.stream() as stream:
            return stream.answer.status

    with ExitStack() as streams:
        opened = [streams.enter_context(served.stream()) for _ in range(MOST_STREAMS)]
        assert [stream.answer.status for stream in opened] == [200] * MOST_STREAMS
        refused, found = ask(served.url, "logs/live", token=served.token, project="shop")
        assert (refused, str(MOST_STREAMS) in found["error"]) == (503, True)
        assert ask(served.url, "logs/count", token=served.token, project="shop")[0] == 200
    wait_until(lambda: status() == 200)


def test_one_who_does_not_read_is_disconnected_and_the_rest_ends_with_the_daemon(tmp_path: Path) -> None:
    prelude = "import spoolhouse.api.streams as streams; streams._PATIENCE = 0.5"
    with running(tmp_path, prelude=prelude) as served, served.stream(limit=100) as reader:
        reader.next()
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            own = urlsplit(served.url)
            deaf.connect((own.hostname, own.port))
            deaf.settimeout(60)
            body = b'{"project": "shop", "limit": 100}'
            head = f"POST /api/v1/logs/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {served.token}\r\n"
            deaf.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert deaf.recv(100).startswith(b"HTTP/1.1 200")
            served.land(*range(40), message="x" * 500_000)
            assert len(reader.ids(40)) == 40, "others are not kept waiting"
            wait_until(lambda: connections(served.daemon.pid) == 2)  # it listens, and the reader is there
        served.daemon.signal(signal.SIGTERM)
        reader.expect_end()
        assert served.daemon.wait() == 0


def connections(pid: int) -> int:
    """Return how many sockets of TCP a process has."""
    inodes = {
        link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir() if link.readlink().name.startswith("socket:")
    }
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(f"socket:[{row[9]}]" in inodes for row in rows)


def test_over_clickhouse_for_the_projects_of_a_token(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path / "spool", [log(1)])
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{OF_SHOP} shop\n")
    with ExitStack() as until_ended:
        with serving("--clickhouse-url", database.http_url, "--tokens", tokens) as url:
            stream = until_ended.enter_context(Stream(url, OF_SHOP, "logs", project="shop"))
            stream.next()
            land(database, tmp_path / "spool", [log(2)])
            assert stream.ids(1) == ["l002"]
            assert ask(url, "logs/live", token=OF_SHOP, project="billing")[0] == 403
            assert ask(url, "logs/live", token=OF_SHOP, all_projects=True)[0] == 403
        stream.expect_end()
