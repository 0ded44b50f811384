"""Settings: who wins, what is refused and in which words, and that no secret is ever in them."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from spoolhouse.errors import BadSettingError
from spoolhouse.settings import Settings
from spoolhouse.settings.batching import BatchSettings
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.settings.serving import HttpSettings
from spoolhouse.settings.sources import load
from spoolhouse.settings.spool import SpoolSettings

SECRET = "hunter2-and-more"


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable, and no file of this machine, takes part."""
    for name in list(os.environ):
        if name.upper().startswith("SPOOLHOUSE_") or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SPOOLHOUSE_CONFIG", "")


def toml(folder: Path, text: str) -> Path:
    path = folder / "spoolhouse.toml"
    path.write_text(text)
    return path


def refusal(flags: dict[str, object] | None = None, config: Path | None = None) -> str:
    with pytest.raises(BadSettingError) as caught:
        load(flags, config=config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nothing_given_gives_the_defaults() -> None:
    assert load() == Settings()


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toml(tmp_path, "[spool]\nquiet = 3\ntorn_after = 3\nappend_watch = 3\n[batch]\nmax_files = 3\n")
    monkeypatch.setenv("SPOOLHOUSE_SPOOL__QUIET", "2")
    monkeypatch.setenv("SPOOLHOUSE_SPOOL__TORN_AFTER", "2")
    settings = load({"spool.quiet": 1, "spool.torn_after": None}, config=config)
    spool = settings.spool
    assert (spool.quiet, spool.torn_after, spool.append_watch, spool.poll_interval_ms) == (1, 2, 3, 10_000)
    assert settings.batch.max_files == 3


def test_the_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOLHOUSE_CONFIG", str(toml(tmp_path, "[log]\nlevel = 'error'\n")))
    assert load().log.level == "error"
    other = tmp_path / "other.toml"
    other.write_text("[log]\nlevel = 'debug'\n")
    assert load(config=other).log.level == "debug"


def test_a_value_that_is_empty_or_false_counts_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toml(tmp_path, "[spool]\nbase_path = 'x'\n[clickhouse]\nmigrate = true\n")
    monkeypatch.setenv("SPOOLHOUSE_SPOOL__BASE_PATH", "")
    settings = load({"clickhouse.migrate": False}, config=config)
    assert settings.spool.base_path == ""
    assert settings.clickhouse.migrate is False


def test_sizes_may_have_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOLHOUSE_SPOOL__MAX_LINE", "2MiB")
    assert (
        load({"batch.max_bytes": "3MB", "batch.side_bytes": 77}).model_dump()
        == Settings(
            spool=SpoolSettings.model_validate({"max_line": 2 * 1024 * 1024}),
            batch=BatchSettings.model_validate({"max_bytes": 3_000_000, "side_bytes": 77}),
        ).model_dump()
    )


def test_everything_is_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, "spool", SpoolSettings())  # noqa: B010  # mypy forbids the plain way, as it should
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings.spool, "quiet", 1.0)  # noqa: B010  # as above


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("spool.quiet", "nan", "a number of seconds, above 0, at most 31536000"),
        ("spool.quiet", "inf", "a number of seconds, above 0"),
        ("spool.quiet", -1, "a number of seconds, above 0"),
        ("spool.quiet", 0, "a number of seconds, above 0"),
        ("spool.quiet", True, "a number of seconds, above 0"),
        ("spool.quiet", "soon", "a number of seconds, above 0"),
        ("spool.poll_interval_ms", "x", "a whole number, above 0"),
        ("spool.poll_interval_ms", "1.5", "a whole number, above 0"),
        ("spool.poll_interval_ms", False, "a whole number, above 0"),
        ("spool.max_line", "-1MiB", "a size in bytes, or such as 16MiB, above 0"),
        ("spool.max_line", 0, "a size in bytes, or such as 16MiB, above 0"),
        ("spool.base_path", "/abs", "a relative path without .."),
        ("spool.base_path", "a/../../b", "a relative path without .."),
        ("http.listen", "", "host:port"),
        ("http.listen", "9464", "host:port"),
        ("http.listen", ":9464", "host:port"),
        ("http.listen", "127.0.0.1:99999", "host:port"),
        ("http.listen", "127.0.0.1:-1", "host:port"),
        ("http.listen", "::1:9464", "[::1]:9464"),
        ("http.listen", "[127.0.0.1]:9464", "host:port"),
        ("http.listen", "http://127.0.0.1:9464", "host:port"),
        ("http.listen", "a b:1", "host:port"),
        ("spool.storage_path", "", "a folder's path"),
        ("spool.storage_type", "s3", "local"),
        ("spool.project", "perhaps", "trust, warn, reject"),
        ("spool.project_id", "../x", "the name of its folder"),
        ("spool.delete_after_process", "maybe", "true or false"),
        ("batch.max_rows", 500_001, "at most 500000"),
        ("batch.max_insert_bytes", "129MB", "at most 128000000"),
        ("workers.decoders", "9" * 5000, "a whole number, above 0, at most 64"),
        (
            "clickhouse.url",
            "ftp://host",
            "clickhouse://, clickhouses://, clickhouse+aioch://, clickhouses+aioch://, http://, https://, chdb://",
        ),
        ("clickhouse.url", "clickhouse://", "clickhouse://host"),
        ("clickhouse.url", "http://host:70000", "port up to 65535"),
        ("clickhouse.url", "http://host?x=1", "http://host"),
        ("clickhouse.url", "http://ho st", "without spaces"),
        ("clickhouse.tls_key", "client.key", "a key together with clickhouse.tls_cert"),
        ("clickhouse.compression", "gzip", "none, lz4, zstd"),
        ("clickhouse.url", "clickhouse://a:9000,b:70000", "port up to 65535"),
        ("clickhouse.url", "clickhouse://a:9000,/db", "clickhouse://host"),
        ("clickhouse.url", "clickhouse://a,b,a", "each host once"),
        ("clickhouse.url", "chdb://relative", "chdb:/// and the absolute path"),
        ("clickhouse.url", "chdb:///", "chdb:/// and the absolute path"),
        ("clickhouse.table_prefix", "x; DROP TABLE", "letters, digits and _"),
        ("clickhouse.database", "a b", "letters, digits, _ and -"),
        ("clickhouse.username", "", "text, not empty"),
        ("log.level", "loud", "debug, info, warning, error"),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: object, accepted: str) -> None:
    said = refusal({name: value})
    assert said.startswith(f"{name}: ")
    assert "from the command line" in said
    assert accepted in said
    assert len(said) < 400


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOLHOUSE_RETRY__CAP", "never")
    config = toml(tmp_path, "[batch]\nlinger = 'a while'\n")
    said = refusal({"spool.quiet": -1}, config)
    assert "spool.quiet: -1 (from the command line)" in said
    assert "retry.cap: 'never' (from the environment)" in said
    assert f"batch.linger: 'a while' (from {config})" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[spool]\nquite = 1\n", "spool.quite: no such setting"),
        ("[spool]\nquite = 1\n", "did you mean spool.quiet?"),
        ("[spol]\n", "spol: no such setting"),
        ("[spol]\n", "did you mean spool?"),
        ("quiet = 1\n", "outside of any table"),
        ("quiet = 1\n", "did you mean spool.quiet?"),
        ("[spool\n", "not TOML"),
    ],
)
def test_what_the_file_may_not_say(tmp_path: Path, text: str, expected: str) -> None:
    config = toml(tmp_path, text)
    said = refusal(config=config)
    assert expected in said
    assert str(config) in said


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(config=tmp_path / "none.toml")
    assert "Is a directory" in refusal(config=tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert "not TOML" in refusal(config=binary)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("SPOOLHOUSE_SPOOL__QUITE", "SPOOLHOUSE_SPOOL__QUIET"),
        ("SPOOLHOUSE_CLICKHOUSE_URL", "SPOOLHOUSE_CLICKHOUSE__URL"),
        ("SPOOLHOUSE_CONFG", "SPOOLHOUSE_CONFIG"),
        ("spoolhouse_spool__quite", "SPOOLHOUSE_SPOOL__QUIET"),
        ("SPOOLHOUSE_LOG__LEVEL__X", "SPOOLHOUSE_LOG__LEVEL"),
    ],
)
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, nearest: str) -> None:
    monkeypatch.setenv(variable, "x")
    said = refusal()
    assert said.startswith(f"{variable}: no such setting")
    assert f"did you mean {nearest}?" in said


@pytest.mark.parametrize(
    "variable",
    [
        "SPOOLHOUSE_TEST_CLICKHOUSE_URL",
        "SPOOLHOUSE_SERVICE_HOST",
        "SPOOLHOUSE_SERVICE_PORT_METRICS",
        "SPOOLHOUSE_PORT",
        "SPOOLHOUSE_PORT_8080_TCP_ADDR",
        "SPOOLHOUSE_CANARY_SERVICE_PORT",
    ],
)
def test_what_kubernetes_and_the_tests_set_is_nobodys_setting(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "tcp://10.0.0.1:8080")
    assert load() == Settings()


class TestPassword:
    def test_comes_from_a_file_without_its_newline(self, tmp_path: Path) -> None:
        path = tmp_path / "password"
        path.write_text(f" {SECRET} \n")
        assert load({"clickhouse.password_file": str(path)}).clickhouse.password == SecretStr(f" {SECRET} ")

    @pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
    def test_a_file_without_one_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "password"
        path.write_bytes(content)
        assert refusal({"clickhouse.password_file": str(path)}).startswith("clickhouse.password_file: ")

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        assert "No such file" in refusal({"clickhouse.password_file": str(tmp_path / "none")})

    def test_a_higher_source_wins_whichever_way_it_gives_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "password"
        path.write_text("from-file")
        monkeypatch.setenv("SPOOLHOUSE_CLICKHOUSE__PASSWORD", "from-environment")
        by_flag = load({"clickhouse.password_file": str(path)})
        assert by_flag.clickhouse.password == SecretStr("from-file")
        config = toml(tmp_path, f"[clickhouse]\npassword_file = '{path}'\n")
        assert load(config=config).clickhouse.password == SecretStr("from-environment")

    def test_two_ways_in_one_source_are_refused(self, tmp_path: Path) -> None:
        config = toml(tmp_path, f"[clickhouse]\npassword = '{SECRET}'\npassword_file = 'x'\n")
        said = refusal(config=config)
        assert "given together with" in said
        assert SECRET not in said

    def test_the_systemd_credential_is_the_last_resort(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        assert load().clickhouse.password is None
        (tmp_path / "clickhouse_password").write_text(f"{SECRET}\n")
        assert load().clickhouse.password == SecretStr(SECRET)
        assert load({"clickhouse.password": "flag"}).clickhouse.password == SecretStr("flag")
        assert load({"clickhouse.url": "http://u:url@h"}).clickhouse.password == SecretStr("url")

    def test_is_never_shown(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        settings = load({"clickhouse.password": SECRET})
        assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
        assert settings.secrets() == (SECRET,)
        monkeypatch.setenv("SPOOLHOUSE_CLICKHOUSE__PASSWORD", SECRET)
        said = [
            refusal({"clickhouse.url": f"ftp://u:{SECRET}@host"}),
            refusal({"clickhouse.url": f"http://u:{SECRET}@host:x"}),
            refusal({"clickhouse.url": f"http://[u:{SECRET}@host"}),
            refusal(config=toml(tmp_path, f"[clickhouse]\npasword = '{SECRET}'\n")),
            refusal({"spool.quiet": -1}),
        ]
        assert not [line for line in said if SECRET in line]


class TestUrl:
    def test_gives_up_user_password_and_database(self) -> None:
        clickhouse = load({"clickhouse.url": "clickhouse://me:p%40ss@db:9000/events"}).clickhouse
        assert clickhouse.url == "clickhouse://db:9000"
        assert (clickhouse.username, clickhouse.password) == ("me", SecretStr("p@ss"))
        assert clickhouse.database == "events"

    def test_loses_against_the_settings_beside_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SPOOLHOUSE_CLICKHOUSE__DATABASE", "other")
        flags: dict[str, object] = {"clickhouse.url": "http://me:pass@db/events", "clickhouse.username": "you"}
        clickhouse = load(flags).clickhouse
        assert (clickhouse.username, clickhouse.password) == ("you", SecretStr("pass"))
        assert clickhouse.database == "other"

    def test_may_name_several_hosts(self) -> None:
        clickhouse = load({"clickhouse.url": "http://me:p,ss@a:1,[::1],c:3/events"}).clickhouse
        assert clickhouse.url == "http://a:1,[::1],c:3"
        assert (clickhouse.username, clickhouse.password) == ("me", SecretStr("p,ss"))
        assert clickhouse.database == "events"
        assert clickhouse.hosts == {"a:1": "http://a:1", "[::1]": "http://[::1]", "c:3": "http://c:3"}

    def test_of_an_embedded_engine_stays_whole(self) -> None:
        assert ClickHouseSettings(url="chdb:///var/a@b/c").url == "chdb:///var/a@b/c"


class TestSpool:
    def test_is_below_the_storage_path(self) -> None:
        flags: dict[str, object] = {"spool.storage_path": "/var/spool", "spool.base_path": "a//b/"}
        assert load(flags).spool.root == Path("/var/spool/a/b")
        assert SpoolSettings(storage_path=Path("x"), base_path="").root == Path("x")

    def test_has_to_be_given(self) -> None:
        with pytest.raises(BadSettingError, match=r"^spool\.storage_path: not given"):
            _ = Settings().spool.root


@given(
    st.dictionaries(st.sampled_from(list(Settings.names())), st.text() | st.integers() | st.floats() | st.booleans())
)
def test_whatever_is_given_there_are_settings_or_a_refusal(flags: dict[str, object]) -> None:
    flags.pop("clickhouse.password_file", None)
    try:
        settings = load(flags)
    except BadSettingError as error:
        said = str(error)
    else:
        assert Settings.model_validate(settings.model_dump()) == settings
        return
    assert any(name in said for name in flags)


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9464", ("::1", 9464)),
        ("off", None),
    ],
)
def test_where_it_listens(listen: str, address: tuple[str, int] | None) -> None:
    assert HttpSettings(listen=listen).address == address
