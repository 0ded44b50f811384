"""The rules of the house that a machine can hold: imports run one way, tasks start in one place, all stays small."""

import ast
import re
import statistics
import tomllib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "daemon" / "spoolhouse"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "events": set(),
    "decode": {"events"},
    "settings": {"events", "store"},
    "monitoring": {"decode", "settings", "explorer"},
    "spool": {"events", "decode", "monitoring"},
    "producer": {"decode", "events", "spool"},
    "api": {"events", "producer", "query"},
    "store": {"events", "decode", "monitoring", "spool", "recover", "doctor", "query", "retry"},
    "query": {"events", "store"},
    "export": {"events", "decode", "monitoring", "producer", "settings", "spool", "store", "service"},
    "pipeline": {"events", "decode", "monitoring", "spool", "retry"},
    "recover": {"events", "decode", "monitoring", "settings", "spool"},
    "doctor": {"monitoring", "settings", "spool"},
    "service": {
        "events",
        "decode",
        "monitoring",
        "settings",
        "spool",
        "store",
        "query",
        "api",
        "pipeline",
        "retry",
    },
    "cli": {
        "events",
        "decode",
        "monitoring",
        "settings",
        "spool",
        "store",
        "export",
        "pipeline",
        "recover",
        "doctor",
        "query",
        "service",
    },
    "retry": {"monitoring"},
}
"""Which rooms a room may use, besides itself; the single modules at the top belong to everybody."""

IMPURE = {"asyncio", "os", "time", "logging", "structlog", "socket", "sqlite3", "random", "pathlib", "threading"}


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the full names of the modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def rooms(path: Path) -> set[str]:
    """Return the rooms of this package that a file imports from."""
    parts = [module.split(".") for module in imported(path)]
    return {part[1] for part in parts if part[0] == "spoolhouse" and len(part) > 1 and part[1] in MAY_IMPORT}


def forbidden(path: Path) -> set[str]:
    """Return the rooms that a file imports from and may not: what everybody uses can use nobody."""
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return rooms(path) - MAY_IMPORT.get(room, set()) - {room}


def test_imports_run_one_way() -> None:
    modules = [path for path in MODULES if name(path) != "__main__.py"]
    assert {name(path): wrong for path in modules if (wrong := forbidden(path))} == {}


def test_records_are_structs() -> None:
    """A dataclass compiles its methods when its module is imported: 170 of them took a seventh of each start."""
    assert [name(path) for path in MODULES if "dataclasses" in imported(path)] == []


def test_a_store_knows_only_the_ports_of_recovery_and_the_doctor() -> None:
    users = ("spoolhouse.recover.", "spoolhouse.doctor.")
    found = {
        name(path): [one for one in imported(path) if one.startswith(users) and ".ports" not in one]
        for path in (PACKAGE / "store").rglob("*.py")
    }
    assert {path: modules for path, modules in found.items() if modules} == {}


def test_of_the_query_side_only_connect_knows_a_store() -> None:
    found = [
        name(path) for path in (PACKAGE / "query").rglob("*.py") if path.stem != "connect" and "store" in rooms(path)
    ]
    assert found == []


def test_decode_and_events_are_pure() -> None:
    """Only the registry reads files: the declarations of a user's own types."""
    paths = [path for room in ("decode", "events") for path in (PACKAGE / room).glob("*.py") if path.stem != "registry"]
    found = {name(path): {module.split(".")[0] for module in imported(path)} & IMPURE for path in paths}
    assert {path: impure for path, impure in found.items() if impure} == {}


def test_tasks_start_in_the_service_alone() -> None:
    start = {name(path) for path in MODULES if re.search("create_task|ensure_future", path.read_text())}
    assert start == {"service/service.py"}


def test_only_the_commands_exit() -> None:
    exits = {name(path) for path in MODULES if re.search(r"sys\.exit|SystemExit|os\._exit", path.read_text())}
    assert {path for path in exits if not path.startswith("cli/")} == {"__main__.py", "service/signals.py"}


def test_modules_and_functions_stay_small() -> None:
    texts = {name(path): path.read_text() for path in MODULES}
    assert [path for path, text in texts.items() if text.count("\n") > 400] == []
    functions = [
        (path, node.name, (node.end_lineno or 0) - node.lineno)
        for path, text in texts.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [function for function in functions if function[-1] >= 60] == []


def test_the_median_module_is_short() -> None:
    assert statistics.median(path.read_text().count("\n") for path in MODULES) <= 150


def test_daemon_is_a_source_root_and_no_package() -> None:
    assert not (ROOT / "daemon" / "__init__.py").exists()


def test_every_ring_is_run() -> None:
    """By `make test`, which runs what pytest finds by itself, by `make test-replicas`, or by `make test-browser`."""
    rings = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*/test_*.py")}
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    assert rings == {*found, "tests/replicas", "tests/browser"}


def test_the_root_of_the_package_is_a_map() -> None:
    """Besides the map itself, the start and the errors, four modules at most: what belongs to no folder."""
    assert len({path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "errors"}) <= 4


def test_the_top_level_holds_what_was_agreed() -> None:
    agreed = {
        "pyproject.toml", "daemon", "config", "docs", "systemd", "tests", "Dockerfile", "Makefile", "README.md",
        "LICENSE", "CHANGELOG.md",
    }  # fmt: skip
    made = {"var", "build", "dist"}
    found = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert found - made <= agreed
