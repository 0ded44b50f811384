"""The harness itself: what every other test takes for granted about the server."""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.engine import Config, Database, EngineError, QueryError, Server, StartServer, User
from tests.engine.fetch import Package, check
from tests.engine.memory import PREFIX, folder_in_memory


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_text(path: Path, text: str) -> str:
    """Return a file's text as soon as it contains another one, or what it has after a minute."""
    deadline = time.monotonic() + 60
    while text not in (content := path.read_text(errors="replace")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return content


def test_both_protocols_listen(server: Server) -> None:
    assert server.query("SELECT 1, 'a', 18446744073709551615") == [(1, "a", 2**64 - 1)]
    assert server.query("SELECT currentUser()") == [(server.endpoint.user,)]
    with socket.create_connection((server.endpoint.host, server.endpoint.tcp_port), timeout=5):
        pass


def test_a_database_is_the_tests_own(database: Database) -> None:
    assert database.query("SELECT currentDatabase()") == [(database.name,)]
    assert database.query("SHOW TABLES") == []
    assert database.native_url.endswith(f":{database.server.endpoint.tcp_port}/{database.name}")
    assert database.http_url.endswith(f":{database.server.endpoint.http_port}/{database.name}")


def test_an_answer_is_exact(database: Database) -> None:
    rows = database.query("SELECT 0.1 AS a, 1/0 AS b, NULL AS c, unhex('ff') AS d, 0 WHERE {p:UInt8} = 1", param_p=1)
    assert rows == [(0.1, "inf", None, "\udcff", 0)]
    with pytest.raises(QueryError) as refused:
        database.query("SELECT throwIf(number = 100000) FROM numbers(1000000)")
    assert refused.value.code == 395
    with pytest.raises(QueryError) as refused:
        database.query("1 + 1")  # clickhouse-local alone would answer 2
    assert refused.value.code == 62


def test_data_survives_a_crash(start_server: StartServer) -> None:
    server = start_server()
    server.query("CREATE DATABASE d")
    server.query("CREATE TABLE d.t (n UInt64) ENGINE = MergeTree ORDER BY n")
    server.query("INSERT INTO d.t SELECT number FROM numbers(1000)")
    pid, urls = server.pid, (server.native_url, server.http_url)
    # A connection that is open when the server dies must not keep its port from it.
    with socket.create_connection((server.endpoint.host, server.endpoint.tcp_port), timeout=5):
        server.kill()
        assert not exists(pid)
        with pytest.raises(OSError, match=r"refused|reset"):
            server.query("SELECT 1")
        server.restart()
    assert (server.native_url, server.http_url) == urls
    assert server.pid != pid
    assert server.query("SELECT count(), sum(n) FROM d.t") == [(1000, 499500)]
    server.stop()
    server.stop()
    server.start()
    assert server.query("SELECT count() FROM d.t") == [(1000,)]


def test_merges_run(start_server: StartServer) -> None:
    server = start_server()
    server.query("CREATE TABLE default.t (n UInt64) ENGINE = MergeTree ORDER BY n")
    for n in range(30):
        server.query(f"INSERT INTO default.t VALUES ({n})")
    server.query("OPTIMIZE TABLE default.t FINAL")
    assert server.query("SELECT count() FROM system.parts WHERE table = 't' AND active") == [(1,)]
    server.query("SYSTEM FLUSH LOGS")
    assert server.query("SELECT count() FROM system.part_log WHERE table = 't' AND event_type = 'NewPart'") == [(30,)]


def test_passwords_and_grants_are_enforced(start_server: StartServer) -> None:
    server = start_server(
        Config(
            users=(
                User(name="writer", password="p&<'ß", grants=("GRANT INSERT ON default.t",), profile="hostile"),
                User(name="nobody", password="n", grants=()),
                User(name="equal", password="e"),
            ),
            profiles={"hostile": {"async_insert": 1, "optimize_on_insert": 1}},
            server={"display_name": "the one"},
        )
    )
    server.query("CREATE TABLE default.t (n UInt64) ENGINE = MergeTree ORDER BY n")
    server.query("INSERT INTO default.t SELECT 1", user="writer", password="p&<'ß")
    assert server.query("SELECT getSetting('async_insert')", user="writer", password="p&<'ß") == [(True,)]
    assert server.query("SELECT n, displayName() FROM default.t", user="equal", password="e") == [(1, "the one")]
    for user, password, sql, code in [
        ("writer", "wrong", "SELECT 1", 516),
        ("writer", "p&<'ß", "SELECT * FROM default.t", 497),
        ("nobody", "n", "INSERT INTO default.t SELECT 1", 497),
        ("nobody", "n", "SELECT * FROM default.t", 497),
    ]:
        with pytest.raises(QueryError) as refused:
            server.query(sql, user=user, password=password)
        assert refused.value.code == code
    url = server.endpoint.url("http", "default", user="writer", password="p&<'ß")
    assert url == f"http://writer:p%26%3C%27%C3%9F@127.0.0.1:{server.endpoint.http_port}/default"


def test_a_frozen_server_is_silent_until_it_goes_on(start_server: StartServer) -> None:
    server = start_server()
    before = server.cpu_seconds()
    server.pause()
    with socket.create_connection((server.endpoint.host, server.endpoint.http_port), timeout=5) as client:
        client.sendall(b"GET /ping HTTP/1.0\r\n\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(100)
        server.resume()
        client.settimeout(30)
        assert b"200 OK" in client.recv(100)
    assert server.cpu_seconds() >= before > 0
    server.pause()
    server.stop()


def hello(password: str) -> bytes:
    """Return the native protocol's first packet: name, version, database, user, password."""
    strings = [b"test", b"default", b"writer", password.encode()]
    name, *login = (bytes([len(string)]) + string for string in strings)
    return b"\0" + name + bytes([1, 1, 0xF6, 0xA9, 0x03]) + b"".join(login)


def test_clients_that_break_off_or_lie_do_not_harm_the_server(start_server: StartServer) -> None:
    """clickhouse-local would abort at each of these."""
    server = start_server(Config(users=(User(name="writer", password="right"),)))
    address = (server.endpoint.host, server.endpoint.tcp_port)
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(hello("wrong"))
        assert b"Authentication failed" in client.recv(10_000)
    for packet in [b"", b"\0", hello("right"), hello("right") + b"\1"]:
        with socket.create_connection(address, timeout=10) as client:
            client.sendall(packet)
            if packet.startswith(hello("right")):
                assert client.recv(10_000)[0] == 0
            # No linger: the kernel sends a reset instead of an orderly end, as when a client is killed.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.create_connection(address, timeout=10) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        client.recv(10_000)
    assert "Connection reset" in wait_for_text(server.log, "Connection reset")
    assert server.query("SELECT 1") == [(1,)]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_server_dies_with_its_tests(tmp_path: Path, *, frozen: bool) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from tests.engine import LocalServer, find_engine
        server = LocalServer(find_engine(), Path(sys.argv[1]))
        server.start()
        if sys.argv[2] == "True":
            server.pause()
        print(server.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path), str(frozen)]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # A pidfd becomes readable when its process ends.
        assert select.select([descriptor], [], [], 30)[0] == [descriptor]
    finally:
        os.close(descriptor)


def test_a_folder_in_memory_goes_with_its_owner(tmp_path: Path) -> None:
    class Owner:
        pass

    (tmp_path / f"{PREFIX}of-a-process-that-was-killed" / "data").mkdir(parents=True)
    first, second = Owner(), Owner()
    folders = [folder_in_memory(owner, tmp_path) for owner in (first, second)]
    assert sorted(tmp_path.iterdir()) == sorted(filter(None, folders))
    assert len(set(folders)) == 2
    del first
    assert list(tmp_path.iterdir()) == folders[1:]


def test_a_server_that_is_not_ours_can_only_be_asked(server: Server) -> None:
    stranger = Server.at(f"{server.native_url}?http_port={server.endpoint.http_port}")
    assert (stranger.native_url, stranger.http_url) == (server.native_url, server.http_url)
    assert stranger.query("SELECT 1") == [(1,)]
    with pytest.raises(EngineError, match=r"cannot be killed.*start_server"):
        stranger.kill()
    with pytest.raises(EngineError, match="does not answer"):
        Server.at("clickhouse://127.0.0.1:1?http_port=1")
    with pytest.raises(EngineError, match="scheme 'ftp'"):
        Server.at("ftp://127.0.0.1")


def test_a_broken_configuration_is_shown(start_server: StartServer) -> None:
    with pytest.raises(EngineError, match=r"UNKNOWN_SETTING|no_such_setting"):
        start_server(Config(profiles={"default": {"no_such_setting": 1}}))
    with pytest.raises(ValueError, match="not usable as a name"):
        start_server(Config(users=(User(name="a b", password=""),)))


def test_a_changed_download_is_refused(tmp_path: Path) -> None:
    tarball = tmp_path / "x.tgz"
    tarball.write_bytes(b"not what was pinned")
    with pytest.raises(EngineError, match="checksum"):
        check(Package(name="x", integrity="sha512-AAAA"), tarball)
