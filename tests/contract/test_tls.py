"""TLS, with a proxy in front of a server that has none: who is trusted, and that everything works through it."""

import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.errors import BadSettingError, OperatorError, StoreError, TransientError
from spoolhouse.events.builtin import LOGS
from spoolhouse.service.clickhouse import open_driver
from spoolhouse.settings import Settings
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.connect import connect
from spoolhouse.store.clickhouse.drivers.transport import Tls, Transport
from tests.contract.place import NO_TLS, SECURE_SCHEMES, Place, connected
from tests.contract.proxy import proxy_to
from tests.contract.tables import create_table, insert_of, log_pieces, stream


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
async def over_tls(
    place: Place, tls: ssl.SSLContext, host: str = "localhost", *, ours: Tls = NO_TLS
) -> AsyncGenerator[Driver]:
    """Connect to a place through a proxy that speaks TLS."""
    async with (
        proxy_to("127.0.0.1", port_of(place), tls=tls) as proxy,
        connected(f"{SECURE_SCHEMES[place.kind]}://{host}:{proxy.port}/{place.database}", tls=ours) as driver,
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
        with pytest.raises(OperatorError, match=r"clickhouse\.tls_ca"):
            await driver.ping()


async def test_certificate_of_another_host_is_not_trusted(
    remote_place: Place, tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with over_tls(remote_place, tls, host="127.0.0.1") as driver:
        with pytest.raises(OperatorError, match="not trusted"):
            await driver.ping()


async def test_server_without_tls(remote_place: Place) -> None:
    async with connected(f"{SECURE_SCHEMES[remote_place.kind]}://localhost:{port_of(remote_place)}") as driver:
        with pytest.raises(TransientError, match=r"clickhouse\.url"):
            await driver.ping()


async def test_an_authority_is_named_by_a_setting(remote_place: Place, tls: ssl.SSLContext, certificate: Path) -> None:
    async with over_tls(remote_place, tls, ours=Tls(ca=certificate)) as driver:
        await driver.ping()


async def test_nobody_has_to_prove_anything_where_that_is_asked_for(remote_place: Place, tls: ssl.SSLContext) -> None:
    async with over_tls(remote_place, tls, host="127.0.0.1", ours=Tls(verify=False)) as driver:
        await driver.ping()


@pytest.mark.parametrize("shown", [True, False])
async def test_a_server_asks_for_a_client_certificate(
    remote_place: Place, tls: ssl.SSLContext, certificate: Path, *, shown: bool
) -> None:
    remote_place.query(create_table(LOGS, "logs"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate)
    async with over_tls(remote_place, tls, ours=Tls(ca=certificate, cert=certificate if shown else None)) as driver:
        if shown:
            await driver.insert_rows(insert_of(LOGS, "logs", "batch"), stream(log_pieces(20_000)))
            assert await driver.execute("SELECT count() FROM logs") == [(20_000,)]
        else:
            with pytest.raises(StoreError, match=r"clickhouse\.tls_cert"):
                await driver.ping()


@pytest.mark.parametrize(
    ("content", "setting"),
    [(None, "ca"), ("no certificate", "ca"), (None, "cert"), ("no certificate", "cert")],
)
def test_a_file_that_is_of_no_use(tmp_path: Path, content: str | None, setting: str) -> None:
    path = tmp_path / "a.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadSettingError, match=rf"clickhouse\.tls_{setting}.*a\.pem"):
        connect("https://localhost", transport=Transport(tls=Tls(ca=path) if setting == "ca" else Tls(cert=path)))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "locked.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-days",
        "2",
        "-subj",
        "/CN=x",
        "-passout",
        "pass:abcd",
    ]
    subprocess.run([*command, "-keyout", str(path), "-out", str(path) + ".crt"], check=True, capture_output=True)
    path.write_text(path.read_text() + Path(str(path) + ".crt").read_text())
    with pytest.raises(BadSettingError, match=r"clickhouse\.tls_key.*no password"):
        connect("clickhouses://localhost", transport=Transport(tls=Tls(cert=path)))


async def test_the_settings_reach_the_driver(remote_place: Place, tls: ssl.SSLContext, certificate: Path) -> None:
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(certificate)
    async with proxy_to("127.0.0.1", port_of(remote_place), tls=tls) as proxy:
        url = f"{SECURE_SCHEMES[remote_place.kind]}://localhost:{proxy.port}/{remote_place.database}"
        given = {"url": url, "tls_ca": certificate, "tls_cert": certificate, "compression": "lz4"}
        driver = open_driver(Settings(clickhouse=ClickHouseSettings.model_validate(given)))
        await driver.ping()
        await driver.close()


@pytest.mark.parametrize("verify", [True, False])
def test_that_nothing_is_verified_is_said(*, verify: bool) -> None:
    with capture_logs() as logs:
        open_driver(Settings(clickhouse=ClickHouseSettings(url="https://localhost", tls_verify=verify)))
    assert [entry["event"] for entry in logs] == ([] if verify else ["tls_not_verified"])
