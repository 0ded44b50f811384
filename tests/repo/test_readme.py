"""The README is true: its commands exist, its files exist, its example lines land."""

import json
import re
import shlex
from pathlib import Path

import pytest

import spoolhouse
from spoolhouse.core.events import BUILT_IN
from spoolhouse.core.jsonl import LineDecoder, Origin
from spoolhouse.core.lines import Piece
from tests.process.daemon import command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the contents of the fenced blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """Return the command lines of a program, without comments and dots."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(program)]
    return [[word for word in shlex.split(line, comments=True) if word != "…"] for line in lines]


@pytest.mark.parametrize("words", commands("spoolhouse"), ids=" ".join)
def test_commands_and_flags_exist(words: list[str]) -> None:
    helped = command(words[1], "--help").stdout
    for word in words[2:]:
        if word.startswith("--"):
            assert word in helped


@pytest.mark.parametrize(
    ("text", "prefix", "root"),
    [
        (README.partition("## Layout")[2], "daemon/spoolhouse/", ROOT / "daemon/spoolhouse"),
        (spoolhouse.__doc__ or "", "", ROOT / "daemon/spoolhouse"),
        ((ROOT / "tests/README.md").read_text().partition("## ")[0], "", ROOT / "tests"),
    ],
    ids=["README.md", "the package", "tests/README.md"],
)
def test_the_maps_show_what_there_is(text: str, prefix: str, root: Path) -> None:
    """Each folder with something of ours in it, and no file or folder that is not there."""
    folders = {f"{path.parent.name}/" for path in root.glob("*/*.py")}
    assert {folder for folder in folders if f"`{prefix}{folder}`" not in text} == set()
    named = re.findall(rf"`(?:{prefix})?([a-z_]+(?:/|\.py))`", text)
    assert {name for name in named if not any((path / name).exists() for path in (root, ROOT))} <= OF_A_SPOOL


OF_A_SPOOL = {"failed/"}
"""Folders that a map may name as well."""


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_targets_exist(words: list[str]) -> None:
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_ci_runs_the_test_command() -> None:
    assert ["make", "test"] in commands("make")
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(
    "target", re.findall(r"\]\(([^)]+)\)", README) + re.findall(r"`(tests/[^`*]+|daemon/[^`]+)`", README)
)
def test_what_it_points_to_is_there(target: str) -> None:
    assert (ROOT / target).exists()


def test_what_it_helps_with_is_said_somewhere() -> None:
    """Each message of the troubleshooting table is one that the program has."""
    table = README.partition("## Troubleshooting")[2].partition("## ")[0]
    messages = [
        name for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    ]
    sources = "\n".join(path.read_text() for path in (ROOT / "daemon").rglob("*.py"))
    assert len(messages) > 15
    assert [message for message in messages if message not in sources] == []


def test_its_example_lines_are_valid() -> None:
    [block] = blocks("json")
    for line in block.splitlines():
        json.loads(line)
    origin = Origin(project="shop", policy="reject", clock_ms=0)
    decoded = LineDecoder(BUILT_IN).decode(Piece(offset=0, data=block.encode()), origin)
    assert decoded.rejects == []
    assert decoded.rows["spans"].count == len(block.splitlines())
