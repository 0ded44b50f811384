"""Samples of producers: each has a script or a named source, is JSON lines, and says nothing of where it was made."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "producers"
README = (FOLDER / "README.md").read_text()
SCRIPTS = {path.stem for path in (*FOLDER.glob("*.py"), *FOLDER.glob("*.mjs"))}
SAMPLES = sorted((FOLDER / "samples").iterdir())

PLACES = re.compile(r"/(tmp|root|home|Users|work|var/folders)/|\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d+){2,3}\b")
SECRETS = re.compile(
    r"-----BEGIN|\bsk-[A-Za-z0-9]|\bAKIA[A-Z0-9]|\bgh[pousr]_[A-Za-z0-9]|\bxox[abp]-"
    r"|\beyJ[\w-]+\.eyJ|[Pp]assword|Bearer "
)


def named(section: str) -> set[str]:
    """Return what the first column of a section's table names."""
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def name(path: Path) -> str:
    return path.name


def test_each_sample_has_a_script_or_a_source() -> None:
    scripted, sourced = (named(section) for section in README.split("## Samples without a script"))
    assert scripted == SCRIPTS
    assert not scripted & sourced
    assert {path.stem for path in SAMPLES} == scripted | sourced


@pytest.mark.parametrize("path", SAMPLES, ids=name)
def test_a_sample_is_a_few_lines_of_json(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.suffix == ".jsonl"
    assert text.endswith("\n")
    lines = text.removesuffix("\n").split("\n")
    assert 1 <= len(lines) <= 40
    assert all(isinstance(json.loads(line), dict) for line in lines)


@pytest.mark.parametrize("path", SAMPLES, ids=name)
def test_a_sample_says_nothing_of_where_it_was_made(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not PLACES.search(text)
    assert not SECRETS.search(text)
    assert str(ROOT) not in text
    assert set(re.findall(r'"hostname": ?"([^"]*)"', text)) <= {"web-1"}
    assert set(re.findall(r'"pid": ?(\d+)', text)) <= {"4242"}


def test_the_versions_are_pinned_and_no_registry_is_named() -> None:
    packages = json.loads((FOLDER / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in packages["dependencies"].values())
    requirements = (FOLDER / "requirements.txt").read_text().split("\n")
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in requirements if line)
    assert not [path for path in FOLDER.rglob("*lock*") if path.is_file()]


def test_producers_are_no_dependency_of_ours() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {re.split(r"[<>=\[; ]", line)[0] for line in project["optional-dependencies"]["dev"]}
    theirs = {line.split("==")[0] for line in (FOLDER / "requirements.txt").read_text().split()}
    assert not ours & theirs


@pytest.mark.parametrize("path", sorted((FOLDER / "samples").glob("mastra_*.jsonl")), ids=name)
def test_events_of_mastra_are_on_its_bus(path: Path) -> None:
    payload = dict.fromkeys(("span_started", "span_updated", "span_ended"), "exportedSpan")
    for line in path.read_text().splitlines():
        event = json.loads(line)
        assert set(event) == {"type", payload.get(event["type"], event["type"])}
