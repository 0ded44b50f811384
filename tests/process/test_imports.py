"""What is imported, and when: the imports are most of what a start costs. The list names what others have written."""

import json
import signal
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import SCRIPT, Daemon

SHOW = """
import atexit, json, os, sys

def show():
    print(json.dumps({"event": "modules", "names": sorted(sys.modules)}), file=sys.stderr, flush=True)

atexit.register(show)
exit = os._exit
os._exit = lambda code: (show(), exit(code))  # how a command ends; wrong flags end as any script
"""
COMMAND = {"structlog"}
"""What a command's flags need."""
SETTINGS = COMMAND | {
    "annotated_types", "dotenv", "msgspec", "pydantic", "pydantic_core", "pydantic_settings", "typing_extensions",
    "typing_inspection",
}  # fmt: skip
"""What settings need."""
PIPELINE = SETTINGS | {"aiofiles", "uvloop", "zstandard"}
"""What the stages need, whatever the way to ClickHouse."""
WATCH = {"anyio", "watchfiles"}
"""What the watch needs, which a run with an end has not; a daemon's begins at some time after its start."""
HELP = {
    "spoolhouse", "spoolhouse.__main__", "spoolhouse.cli", "spoolhouse.errors", "spoolhouse.service",
    "spoolhouse.service.runtime_tuning",
}  # fmt: skip
"""Our own modules that the list of commands needs."""


def distributed(names: object) -> set[str]:
    """Return which packages of others are among some modules' names."""
    assert isinstance(names, list)
    installed = set(packages_distributions()) - {"spoolhouse", "sitecustomize"}
    # setuptools, where it is installed, hooks itself into every start of the interpreter.
    installed -= {"_distutils_hack"}
    return {str(name).partition(".")[0] for name in names} & installed - sys.stdlib_module_names


def imported(*arguments: str) -> list[str]:
    """Return the modules that a command imports from its start to its end."""
    code = f"{SHOW}\nsys.argv = sys.argv[1:]\nimport runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    names: list[str] = json.loads(done.stderr.splitlines()[-1])["names"]
    return names


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("--help", set()),
        ("--version", set()),
        ("ingest --help", COMMAND),
        ("generate --help", COMMAND | {"msgspec", "typing_extensions"}),
        ("status --help", COMMAND | {"msgspec", "typing_extensions"}),
        ("ingest", SETTINGS),  # no spool is given
    ],
    ids=["help", "version", "ingest help", "generate help", "status help", "ingest"],
)
def test_a_command_imports_what_it_needs(command: str, expected: set[str]) -> None:
    assert distributed(imported(*command.split())) == expected


def test_the_list_of_commands_imports_no_command() -> None:
    assert {name for name in imported("--help") if name.partition(".")[0] == "spoolhouse"} == HELP


def test_a_status_without_a_daemon_imports_no_table_and_no_client(tmp_path: Path) -> None:
    names = imported("status", "--json", "--file-storage-path", str(tmp_path), "--base-path", "")
    assert distributed(names) == SETTINGS
    assert "http.client" not in names


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("native_url", {"asynch", "lz4", "tzdata", "tzlocal"}),
        (
            "http_url",
            {
                "aiohappyeyeballs",
                "aiohttp",
                "aiosignal",
                "attr",
                "frozenlist",
                "idna",
                "lz4",
                "multidict",
                "propcache",
                "yarl",
            },
        ),
    ],
)
def test_the_daemon_imports_one_driver(url: str, driver: set[str], database: Database, tmp_path: Path) -> None:
    with Daemon(getattr(database, url), tmp_path, "--once", prelude=SHOW) as daemon:
        assert daemon.wait() == 0
        assert distributed(daemon.wait_for("modules")[0]["names"]) == PIPELINE | driver
    with Daemon(getattr(database, url), tmp_path, prelude=SHOW) as daemon:
        daemon.wait_for("started")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert distributed(daemon.wait_for("modules")[0]["names"]) - WATCH == PIPELINE | driver
