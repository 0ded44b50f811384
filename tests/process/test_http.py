"""The HTTP server of the real daemon: what it says while all is well, while ClickHouse is down, and to the hostile."""

import gzip
import http.client
import re
import socket
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from spoolhouse.monitoring.status_model import Liveness, Readiness, Status
from tests.engine import Config, Database, StartServer, User
from tests.process.daemon import Answer, Daemon, drop, get, lines
from tests.process.inputs import NOW, good

METRICS = Path(__file__).parents[2] / "config" / "metrics.md"
PREFIX = "mastra_admin_"
LOG = {"type": "log", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}


def status(daemon: Daemon) -> Status:
    return msgspec.json.decode(daemon.get("/status").body, type=Status)


def requested(daemon: Daemon, headers: Mapping[str, str]) -> Answer:
    """Return the page, asked for with these headers."""
    connection = http.client.HTTPConnection(urlsplit(str(daemon.events("http_listening")[0]["url"])).netloc, timeout=60)
    with closing(connection):
        connection.request("GET", "/", headers=dict(headers))
        answer = connection.getresponse()
        return Answer(code=answer.status, headers=dict(answer.headers), body=answer.read())


def waiting(daemon: Daemon) -> int:
    """Return how many files wait in the spool, as the daemon says."""
    backlog = status(daemon).backlog
    assert backlog is not None
    return backlog.pending_files


def readiness(daemon: Daemon) -> tuple[int, Readiness]:
    answer = daemon.get("/readyz")
    return answer.code, msgspec.json.decode(answer.body, type=Readiness)


def samples(daemon: Daemon) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return each value of `/metrics` by its name and labels."""
    families = text_string_to_metric_families(daemon.get("/metrics").body.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(daemon: Daemon, name: str, **labels: str) -> float:
    return samples(daemon)[f"spoolhouse_{name}", frozenset(labels.items())]


def test_what_it_says_of_its_work(database: Database, tmp_path: Path) -> None:
    content = good("p", 3) + b'{"type":"span"}\nnot json\n'
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        drop(tmp_path, "span", "p", "a.jsonl", content)
        daemon.wait_for("file_settled")
        assert value(daemon, "lines_total", type="span", outcome="landed") == 3
        assert value(daemon, "lines_total", type="span", outcome="rejected") == 2
        assert value(daemon, "inserted_rows_total", table=f"{PREFIX}spans") == 3
        assert value(daemon, "files_total", type="span", outcome="processed") == 1
        assert value(daemon, "read_bytes_total", type="span") == len(content)
        assert value(daemon, "rejects_total", reason="invalid_json") == 1
        assert value(daemon, "rejects_total", reason="missing_field") == 1
        assert value(daemon, "insert_duration_seconds_count", table=f"{PREFIX}spans") == 1
        assert value(daemon, "ready") == 1
        assert value(daemon, "table_held", table=f"{PREFIX}spans") == 0
        for idle in ("shipments_in_flight", "claimed_files", "stuck_stages", "held_instances", "unmovable_files"):
            assert value(daemon, idle) == 0
        assert value(daemon, "last_landed_timestamp_seconds") > NOW.timestamp()

        told = status(daemon)
        assert told.readiness == Readiness(ready=True, state="running", reasons=[])
        assert told.liveness == Liveness(alive=True, stuck={})
        assert told.pid == daemon.pid
        assert told.spool == str(tmp_path)
        assert told.bytes == len(content)
        assert told.files == {"processed": 1, "failed": 0}
        assert {(t.type, t.landed, t.rejected) for t in told.types if t.landed} == {("span", 3, 2)}
        assert told.rejects == {"invalid_json": 1, "missing_field": 1}
        [file] = told.recent_files
        assert (file.path, file.rows, file.rejected) == ("span/p/a.jsonl", 3, 2)
        assert file.destination == "span/p/processed/a.jsonl"
        newest, older = told.recent_rejects
        assert (older.file, older.line, older.reason) == ("span/p/a.jsonl", 4, "missing_field")
        assert (newest.line, newest.reason) == (5, "invalid_json")


def test_the_answers_are_plain(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("started")
        for path, kind in {
            "/livez": "application/json",
            "/readyz": "application/json",
            "/status": "application/json",
            "/metrics": "text/plain; version=0.0.4; charset=utf-8",
            "/": "text/html; charset=utf-8",
        }.items():
            answer = daemon.get(path)
            assert (answer.code, answer.headers["Content-Type"]) == (200, kind)
            assert answer.headers["Cache-Control"] == ("no-cache" if path == "/" else "no-store")
            assert answer.headers["Server"] == "spoolhouse"
        named = {family.name for family in text_string_to_metric_families(daemon.get("/metrics").body.decode())}
        listed = re.findall(r"^\| `(\w+?)(?:_total)?` \|", METRICS.read_text(), re.MULTILINE)
        assert {name for name in named if not name.startswith("process_")} == set(listed)
        assert daemon.get("/etc/passwd").code == 404
        assert daemon.get("/../../etc/passwd").code == 404
        page = daemon.get("/")
        assert "unsafe" not in page.headers["Content-Security-Policy"]
        packed = requested(daemon, {"Accept-Encoding": "gzip"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.body) == page.body
        kept = requested(daemon, {"If-None-Match": page.headers["ETag"]})
        assert (kept.code, kept.body) == (304, b"")
        assert requested(daemon, {"If-None-Match": '"another"'}).body == page.body


def test_a_server_that_is_down_is_a_reason_and_no_death(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    server.kill()
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
    with Daemon(server.http_url, tmp_path, env={"SPOOLHOUSE_RETRY__CAP": "0.5"}, http="any port") as daemon:
        daemon.wait_for("clickhouse_unavailable")
        assert daemon.get("/livez").code == 200
        code, told = readiness(daemon)
        assert (code, told.state) == (503, "starting")
        [reason] = told.reasons
        assert (reason.scope, reason.held) == ("server", False)
        assert "span" in reason.types
        assert reason.error
        while not waiting(daemon):
            assert daemon.get("/livez").code == 200, "a look through the spool comes within a scan's interval"
        assert value(daemon, "pending_bytes") == len(good("p", 3))
        assert value(daemon, "ready") == 0
        server.restart()
        daemon.wait_for("file_settled")
        assert readiness(daemon) == (200, Readiness(ready=True, state="running", reasons=[]))


def test_an_idle_daemon_sees_the_server_go_and_come(start_server: StartServer, tmp_path: Path) -> None:
    """Nothing is inserted that could fail."""
    server = start_server()
    with Daemon(server.http_url, tmp_path, env={"SPOOLHOUSE_RETRY__CAP": "0.5"}, http="any port") as daemon:
        daemon.wait_for("started")
        assert readiness(daemon)[0] == 200
        server.kill()
        daemon.wait_for("clickhouse_unavailable")
        code, told = readiness(daemon)
        assert (code, told.state, told.reasons[0].scope) == (503, "running", "server")
        server.restart()
        daemon.wait_for("clickhouse_available")
        assert readiness(daemon)[0] == 200


def test_a_held_table_is_named_with_its_hint(database: Database, tmp_path: Path) -> None:
    env = {"SPOOLHOUSE_RETRY__CAP": "1"}
    with Daemon(database.http_url, tmp_path, env=env, http="any port") as daemon:
        daemon.wait_for("started")
        [(create,)] = database.query(f"SHOW CREATE TABLE {PREFIX}logs")
        database.query(f"DROP TABLE {PREFIX}logs SYNC")
        drop(tmp_path, "log", "p", "a.jsonl", lines([{**LOG, "id": "1"}]))
        daemon.wait_for("table_held", scope=f"{PREFIX}logs")
        code, told = readiness(daemon)
        assert (code, told.state) == (503, "running")
        [reason] = told.reasons
        assert (reason.scope, reason.types, reason.held, reason.code) == (f"{PREFIX}logs", ["log"], True, 60)
        assert "spoolhouse migrate" in str(reason.hint)
        assert value(daemon, "table_held", table=f"{PREFIX}logs") == 1
        assert value(daemon, "table_held", table=f"{PREFIX}spans") == 0
        assert value(daemon, "retries_total", code="60", kind="operator") >= 1
        assert value(daemon, "shipments_in_flight") == 1
        assert value(daemon, "claimed_files") == 1
        assert status(daemon).retries["60"] >= 1
        database.query(str(create))
        daemon.wait_for("file_settled")
        assert readiness(daemon)[0] == 200


def test_no_secret_is_told(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(Config(users=(User(name="writer", password="right"),)))
    env = {"SPOOLHOUSE_CLICKHOUSE__USERNAME": "writer", "SPOOLHOUSE_CLICKHOUSE__PASSWORD": "wr0ng-passw0rd"}
    with Daemon(server.http_url, tmp_path, env=env, http="any port") as daemon:
        daemon.wait_for("clickhouse_unavailable")
        [reason] = readiness(daemon)[1].reasons
        assert "clickhouse.password" in str(reason.hint)
        for path in ("/livez", "/readyz", "/status", "/metrics", "/"):
            assert b"wr0ng" not in daemon.get(path).body


@pytest.fixture
def taken() -> int:
    """Return a port that somebody listens on for as long as the test process lives."""
    listener = socket.create_server(("127.0.0.1", 0))
    port: int = listener.getsockname()[1]
    _kept.append(listener)
    return port


_kept: list[socket.socket] = []


def test_a_port_that_was_asked_for_and_is_taken_is_a_clear_error(tmp_path: Path, taken: int) -> None:
    env = {"SPOOLHOUSE_HTTP__LISTEN": f"127.0.0.1:{taken}"}
    with Daemon("http://127.0.0.1:1", tmp_path, env=env, http="any port") as daemon:
        assert daemon.wait() == 78
        assert f"http.listen: 127.0.0.1:{taken}" in daemon.told()
        assert "the port is taken" in daemon.told()
        assert "off" in daemon.told()
    assert not (tmp_path / ".spoolhouse").exists(), "nothing is touched"


def test_once_shares_the_settings_of_a_daemon_that_has_the_port(database: Database, tmp_path: Path, taken: int) -> None:
    drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
    env = {"SPOOLHOUSE_HTTP__LISTEN": f"127.0.0.1:{taken}"}
    with Daemon(database.http_url, tmp_path, "--once", env=env, http="default") as daemon:
        assert daemon.wait() == 0, daemon.told()
        assert daemon.events("http_port_taken")
        assert daemon.events("http_listening")


def test_once_serves_nothing_unasked(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, "--once", http="default") as daemon:
        assert daemon.wait() == 0, daemon.told()
        assert not daemon.events("http_listening")


def test_an_address_of_another_host_is_a_clear_error(tmp_path: Path) -> None:
    with Daemon(
        "http://127.0.0.1:1", tmp_path, env={"SPOOLHOUSE_HTTP__LISTEN": "192.0.2.1:9464"}, http="any port"
    ) as daemon:
        assert daemon.wait() == 78
        assert "http.listen: 192.0.2.1:9464 cannot be listened on" in daemon.told()


def test_two_daemons_on_one_host_need_no_setting(database: Database, tmp_path: Path) -> None:
    """Whoever comes first has the default port; no other daemon of this machine may have it during the test."""
    config = tmp_path / "empty.toml"
    config.write_text("[http]\n")
    env = {"SPOOLHOUSE_CONFIG": str(config)}
    spool = tmp_path / "spool"
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(database.http_url, spool, env=env, http="default")) for _ in range(2)]
        urls = {str(daemon.wait_for("http_listening")[0]["url"]) for daemon in daemons}
        assert len(urls) == 2
        assert any(daemon.events("http_port_taken") for daemon in daemons)
        for daemon in daemons:
            daemon.wait_for("started")
            assert daemon.get("/readyz").code == 200


def test_off_serves_nothing(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, env={"SPOOLHOUSE_HTTP__LISTEN": "off"}, http="any port") as daemon:
        daemon.wait_for("started")
        assert not daemon.events("http_listening")


def test_nobody_keeps_a_health_check_out(database: Database, tmp_path: Path) -> None:
    """More silent connections than are kept, unfinished requests, and what is no HTTP at all."""
    with Daemon(database.http_url, tmp_path, http="any port") as daemon, ExitStack() as stack:
        daemon.wait_for("started")
        url = str(daemon.wait_for("http_listening")[0]["url"])
        port = int(url.rpartition(":")[2])
        clients = []
        for number in range(150):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            client.sendall([b"", b"GET /status HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01 no HTTP\r\n\r\n"][number % 3])
            clients.append(client)
        assert clients[0].recv(1) == b"", "the oldest has to go"
        assert get(f"{url}/livez").code == 200
        huge = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        huge.sendall(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n")
        assert b"400" in huge.recv(100)
        assert get(f"{url}/readyz").code == 200
        assert not daemon.events("library_message"), "noise from outside is not logged"


def ask(port: int, request: bytes) -> bytes:
    """Send bytes over a connection of their own; return all that comes back until it is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request)
        told = b""
        while more := client.recv(1 << 16):
            told += more
    return told


def port_of(daemon: Daemon) -> int:
    return int(str(daemon.wait_for("http_listening")[0]["url"]).rpartition(":")[2])


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/nowhere"])
def test_one_connection_gets_few_answers(path: str, database: Database, tmp_path: Path) -> None:
    """However many requests it sends at once: the last answer says that it is the last, and another one is served."""
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("started")
        port = port_of(daemon)
        request = b"GET " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            told = b""
            try:
                client.sendall(request * 20_000)
                while more := client.recv(1 << 16):
                    told += more
            except ConnectionError:  # it was closed while there was more to send
                pass
        assert 1 <= told.count(b"HTTP/1.1 ") <= 100
        assert told.count(b"Connection: close") <= 1
        few = ask(port, request * 100)
        assert few.count(b"HTTP/1.1 ") == 100
        assert few.count(b"Connection: close") == 1
        assert daemon.get("/livez").code == 200
        assert not daemon.events("library_message")


OWN = ["localhost", "LOCALHOST:9464", "127.0.0.1", "[::1]:9464", "10.1.2.3:9464", "spool.example", "Second.:80"]
FOREIGN = ["evil.example", "localhost.evil.example:9464", "127.0.0.1.evil.example", "[::1].evil.example", ""]


def test_only_names_of_its_own_are_answered(database: Database, tmp_path: Path) -> None:
    """A page elsewhere, whose name leads here, must not read what is served; a health check needs no name."""
    env = {"SPOOLHOUSE_HTTP__ALLOWED_HOSTS": "spool.example, second"}
    with Daemon(database.http_url, tmp_path, env=env, http="any port") as daemon:
        daemon.wait_for("started")
        port = port_of(daemon)

        def code(path: str, *hosts: str) -> int:
            named = "".join(f"Host: {host}\r\n" for host in hosts)
            told = ask(port, f"GET {path} HTTP/1.1\r\n{named}Connection: close\r\n\r\n".encode())
            number = int(told.split(b" ", 2)[1])
            assert (number == 421) == (b"http.allowed_hosts" in told), told
            return number

        for host in OWN:
            assert {code(path, host) for path in ("/status", "/metrics", "/readyz", "/", "/livez")} == {200}, host
            assert code("/nowhere", host) == 404
        for host in FOREIGN:
            assert {code(path, host) for path in ("/status", "/metrics", "/readyz", "/", "/nowhere")} == {421}, host
            assert code("/livez", host) == 200
            assert code("/status", "localhost", host) in {400, 421}
        assert b" 200 OK" in ask(port, b"GET /status HTTP/1.0\r\n\r\n"), "no browser, no name"


def test_a_row_that_clickhouse_refuses_is_counted(database: Database, tmp_path: Path) -> None:
    with Daemon(database.http_url, tmp_path, http="any port") as daemon:
        daemon.wait_for("started")
        database.query(f"ALTER TABLE {PREFIX}spans ADD CONSTRAINT c CHECK span_id != 'p-1'")
        drop(tmp_path, "span", "p", "a.jsonl", good("p", 3))
        daemon.wait_for("file_settled")
        assert value(daemon, "rejects_total", reason="refused") == 1
        assert value(daemon, "retries_total", code="469", kind="data") >= 1
        assert value(daemon, "lines_total", type="span", outcome="landed") == 2
        assert value(daemon, "lines_total", type="span", outcome="rejected") == 1
        [line] = status(daemon).recent_rejects
        assert (line.file, line.line, line.reason) == ("span/p/a.jsonl", 2, "refused")
