"""TLS, with a proxy in front of a server that has none: who is trusted, and that everything works through it."""

import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from spoolhouse.core.events import LOGS
from spoolhouse.core.ports import Driver
from spoolhouse.errors import OperatorError, TransientError
from tests.contract.place import Place, connected
from tests.contract.proxy import proxy_to
from tests.contract.tables import create_table, insert_of, log_pieces, stream

SCHEMES = {"native": "clickhouses", "http": "https"}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for `localhost` that signs itself; key and certificate are one file."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path), "-out", str(path) + ".crt"]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(str(path) + ".crt").read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """Make the server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def port_of(place: Place) -> int:
    """Return the server's port."""
    return int(place.url.rpartition(":")[2].partition("/")[0])


@asynccontextmanager
async def over_tls(place: Place, tls: ssl.SSLContext, host: str = "localhost") -> AsyncGenerator[Driver]:
    """Connect to a place through a proxy that speaks TLS."""
    async with (
        proxy_to("127.0.0.1", port_of(place), tls=tls) as proxy,
        connected(f"{SCHEMES[place.kind]}://{host}:{proxy.port}/{place.database}") as driver,
    ):
        yield driver


async def test_everything_works_over_tls(
    remote_place: Place, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote_place.query(create_table(LOGS, "logs"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with over_tls(remote_place, tls) as driver:
        for _ in range(2):
            await driver.insert_rows(insert_of(LOGS, "logs", "batch"), stream(log_pieces(20_000)))
        assert await driver.execute("SELECT count() FROM logs") == [(20_000,)]


async def test_stranger_is_not_trusted(remote_place: Place, tls: ssl.SSLContext) -> None:
    async with over_tls(remote_place, tls) as driver:
        with pytest.raises(OperatorError, match="SSL_CERT_FILE"):
            await driver.ping()


async def test_certificate_of_another_host_is_not_trusted(
    remote_place: Place, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with over_tls(remote_place, tls, host="127.0.0.1") as driver:
        with pytest.raises(OperatorError, match="not trusted"):
            await driver.ping()


async def test_server_without_tls(remote_place: Place) -> None:
    async with connected(f"{SCHEMES[remote_place.kind]}://localhost:{port_of(remote_place)}") as driver:
        with pytest.raises(TransientError, match=r"clickhouse\.url"):
            await driver.ping()
