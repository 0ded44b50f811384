"""systemd/spoolhouse.service says what the program does; `make check-unit` lets systemd itself look at it."""

import re
from pathlib import Path

import pytest

from spoolhouse import cli
from spoolhouse.service import service
from spoolhouse.settings import Settings, sources
from tests.process.daemon import command

ROOT = Path(__file__).parents[2]
FILE = ROOT / "systemd" / "spoolhouse.service"
_UNITS = {"": 1, "s": 1, "sec": 1, "min": 60}


def settings() -> dict[str, list[str]]:
    """Return what the unit gives each name, in order."""
    given: dict[str, list[str]] = {}
    for line in FILE.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            given.setdefault(name, []).append(value)
    return given


UNIT = settings()


def one(name: str) -> str:
    [value] = UNIT[name]
    return value


def seconds(name: str) -> float:
    found = re.fullmatch(r"(\d+)(\w*)", one(name))
    assert found is not None
    return int(found[1]) * _UNITS[found[2]]


def test_it_speaks_the_notify_protocol() -> None:
    assert one("Type") == "notify"
    assert seconds("WatchdogSec") > 0
    assert one("ExecReload") == "kill -HUP $MAINPID"


def test_a_stop_has_more_time_than_the_grace() -> None:
    assert seconds("TimeoutStopSec") >= Settings().shutdown.grace + 10


def test_it_may_open_as_many_files_as_the_most_work_at_once_asks_for() -> None:
    """A quarter of the descriptors is for left-over instances: all that may be open at once have room in it."""
    assert int(one("LimitNOFILE")) >= 4 * 4 * 256


def test_it_knows_the_exit_codes() -> None:
    assert one("RestartPreventExitStatus") == str(cli.BAD_SETTING)
    assert one("SuccessExitStatus") == str(service.EXIT_OUT_OF_TIME)
    assert one("Restart") == "always"


def test_its_command_and_its_settings_exist() -> None:
    program, *arguments = one("ExecStart").split()
    assert program.endswith("/bin/spoolhouse")
    assert command(*arguments, "--help").returncode == 0
    variables = {f"SPOOLHOUSE_{name.replace('.', '__').upper()}" for name in Settings.names()}
    assert {value.partition("=")[0] for value in UNIT["Environment"]} <= variables
    assert one("LoadCredential") == sources.CREDENTIAL


def test_systemd_s_settings_file_is_where_the_program_looks() -> None:
    assert Path("/etc") / one("ConfigurationDirectory") == sources.SYSTEM_FILE.parent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DynamicUser", "yes"),
        ("StateDirectory", "spoolhouse"),
        ("CapabilityBoundingSet", ""),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateDevices", "yes"),
        ("PrivateUsers", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ],
)
def test_it_is_hardened(name: str, value: str) -> None:
    assert UNIT[name] == [value]


def test_only_the_calls_of_a_service_pass() -> None:
    assert UNIT["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]
