"""What the tests of the stages may know of the code: its interfaces and its words; the wiring is in one module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repo.test_house import PACKAGE, ROOT, imported

TESTS = ROOT / "tests"

KNOWN = {
    "spoolhouse.errors",
    "spoolhouse.settings",
    "spoolhouse.file_names",
    "spoolhouse.events.agent",
    "spoolhouse.events.builtin",
    "spoolhouse.events.declaration",
    "spoolhouse.export",
    "spoolhouse.export.samples",
    "spoolhouse.export.samples.declared",
    "spoolhouse.decode.rows",
    "spoolhouse.doctor.finding",
    "spoolhouse.monitoring.health",
    "spoolhouse.monitoring.status_model",
    "spoolhouse.pipeline.messages",
    "spoolhouse.spool.instance",
    "spoolhouse.spool.journal_files",
    "spoolhouse.spool.layout",
    "spoolhouse.spool.pause_flag",
    "spoolhouse.spool.row_ranges",
    "spoolhouse.spool.shipment",
}
"""Settings, types of events, messages, and what is on disk. Everything else is wired in `integration/build.py`."""


def is_module(name: str) -> bool:
    """Tell whether a name that a test imports, or imports from, is a module with code."""
    path = PACKAGE.parent / name.replace(".", "/")
    package = path / "__init__.py"
    return path.with_suffix(".py").exists() or (package.exists() and "import" in package.read_text())


def used(path: Path) -> set[str]:
    """Return the modules of the package that a test file imports."""
    return {name for name in imported(path) if name.startswith("spoolhouse.") and is_module(name)}


def private(path: Path) -> Iterator[str]:
    """Yield the private names of others that a test file uses."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            texts = [one.value for one in node.args if isinstance(one, ast.Constant)]
            names = [text.rpartition(".")[2] for text in texts if isinstance(text, str)]
        yield from (name for name in names if name.startswith("_") and not name.startswith("__"))


def test_tests_of_the_stages_know_no_wiring() -> None:
    found = {path.name: used(path) - KNOWN for path in (TESTS / "integration").glob("test_*.py")}
    assert {name: modules for name, modules in found.items() if modules} == {}
    assert set.union(*map(used, (TESTS / "integration").glob("test_*.py"))) == KNOWN


@pytest.mark.parametrize("ring", ["integration", "spool", "store"])
def test_tests_use_no_private_name(ring: str) -> None:
    found = {path.name: set(private(path)) for path in (TESTS / ring).glob("*.py")}
    assert {name: names for name, names in found.items() if names} == {}
