"""Addresses: what each URL means, and that a password is never shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.errors import BadSettingError
from spoolhouse.store.clickhouse.drivers.url import Address, Protocol, parse


def native(**given: object) -> Address:
    return Address(**{"protocol": Protocol.NATIVE, "host": "db", "port": 9000} | given)  # type: ignore[arg-type]  # any field


def http(**given: object) -> Address:
    return Address(**{"protocol": Protocol.HTTP, "host": "db", "port": 8123} | given)  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("clickhouse://db", native()),
        ("clickhouse://db/", native()),
        ("clickhouse://db:19000", native(port=19000)),
        ("clickhouses://db", native(port=9440, secure=True)),
        ("clickhouse+aioch://db", native(protocol=Protocol.THREADED)),
        ("clickhouses+aioch://db", native(protocol=Protocol.THREADED, port=9440, secure=True)),
        ("http://db", http()),
        ("http://db:80/", http(port=80)),
        ("https://db", http(port=8443, secure=True)),
        ("HTTPS://DB", http(port=8443, secure=True)),
        ("http://[::1]:8123", http(host="::1")),
        ("clickhouse://ann@db", native(user="ann")),
        ("clickhouse://ann:secret@db/logs", native(user="ann", password="secret", database="logs")),
        ("http://a%40b:p%2Fw%3A%25@db/my%20logs", http(user="a@b", password="p/w:%", database="my logs")),
        ("chdb:///var/lib/data", Address(protocol=Protocol.EMBEDDED, path="/var/lib/data")),
        ("chdb:///with%20space", Address(protocol=Protocol.EMBEDDED, path="/with space")),
    ],
)
def test_url(url: str, address: Address) -> None:
    assert parse(url) == address


def test_settings_win_over_the_url() -> None:
    address = parse("clickhouse://ann:secret@db/logs", username="bob", password="other", database="spans")
    assert address == native(user="bob", password="other", database="spans")


def test_empty_password_is_one() -> None:
    assert parse("clickhouse://ann:secret@db", password="").password == ""


def test_database_of_an_embedded_engine_is_a_setting() -> None:
    assert parse("chdb:///data", database="logs").database == "logs"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "db",
        "db:9000",
        "//db",
        "tcp://db",
        "clickhouse+other://db",
        "clickhouse://",
        "clickhouse://:9000",
        "clickhouse://db:port",
        "clickhouse://db:99999",
        "http://db/a/b",
        "http://db?database=x",
        "http://db/#x",
        "http://[::1",
        "chdb://",
        "chdb:///",
        "chdb://relative/path",
        "chdb:///nul%00",
    ],
)
def test_bad_url_says_what_is_accepted(url: str) -> None:
    with pytest.raises(BadSettingError, match=r"clickhouse\.url .*accepted: .*chdb:///"):
        parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("clickhouse://db", "clickhouse://default@db:9000/default"),
        ("clickhouses://ann:secret@db/logs", "clickhouses://ann@db:9440/logs"),
        ("http://a%40b:secret@[::1]/x", "http://a%40b@[::1]:8123/x"),
        ("https://db", "https://default@db:8443/default"),
        ("chdb:///with%20space", "chdb:///with%20space"),
    ],
)
def test_shown(url: str, shown: str) -> None:
    assert parse(url).shown == shown
    assert parse(shown).shown == shown


@given(scheme=st.sampled_from(["clickhouse", "http", "nonsense", "chdb"]), rest=st.text())
def test_password_is_never_shown(scheme: str, rest: str) -> None:
    try:
        address = parse(f"{scheme}://ann:hunter2@{rest}")
    except BadSettingError as error:
        said = str(error)
    else:
        said = address.shown + repr(address) + str(address)
    assert "hunter2" not in said
