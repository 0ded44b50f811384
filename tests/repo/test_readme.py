"""README.md and docs/ are true: their commands run, their events land, and what they name is there."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import yaml

import spoolhouse
from tests.engine import Database
from tests.process.daemon import SCRIPT, Daemon, command, drop, once
from tests.process.inputs import good

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "docs").glob("*.md")}
ALL = {"README.md": README, **PAGES}
FIELDS = re.findall(r"^\|.*\|$", PAGES["docs/event-types.md"], re.MULTILINE)
"""Rows of tables about events: what stands in them has the form of settings, and is none."""

SPOOL, SAMPLES = "/var/spool/events", "/tmp/try"  # noqa: S108  # as the pages name them; each test has its own
IN_THE_WAY = {"release"}
"""Commands for a spool without a daemon."""
ABROAD = {"systemctl", "docker", "make", "python3", "cp", "install", "useradd", "/opt/spoolhouse/bin/pip"}
"""Programs that a test cannot just run here: what they are told is read, and compared with what there is."""


def blocks(language: str, text: str) -> list[str]:
    """Return the contents of the fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def words_of(block: str) -> list[list[str]]:
    """Return the commands of a block, without comments."""
    lines = [line for line in block.splitlines() if line.strip()]
    parts = [part for line in lines for part in " ".join(shlex.split(line, comments=True)).split(" && ")]
    return [part.split() for part in parts]


SHELL = [(page, block) for page, text in ALL.items() for block in blocks("sh", text)]
OURS = [block for _, block in SHELL if words_of(block)[0][0] == "spoolhouse"]
OTHERS = [words for _, block in SHELL for words in words_of(block) if words[0] != "spoolhouse"]


@contextmanager
def a_day_later(database: Database, spool: Path, *, runs: bool) -> Iterator[None]:
    """Keep a spool on which a daemon has landed a file, rejected a line and failed an archive; it may run on."""
    drop(spool, "span", "shop", "a.jsonl", good("shop", 5))
    drop(spool, "span", "shop", "b.jsonl", b"no event\n" + good("shop", 5, first=5))
    drop(spool, "span", "shop", "c.jsonl.gz", b"no archive")
    with Daemon(database.native_url, spool, http="any port") as daemon:
        daemon.wait_for("file_settled", count=3)
        if not runs:
            daemon.kill()
        yield


@pytest.mark.parametrize("block", OURS, ids=lambda block: " ".join(words_of(block)[0]))
def test_commands_do_what_they_are_there_for(block: str, prepared_database: Database, tmp_path: Path) -> None:
    spool = tmp_path / "events"
    environment = {
        **os.environ,
        "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}",
        "SPOOLHOUSE_CLICKHOUSE__URL": prepared_database.native_url,
        "SPOOLHOUSE_SPOOL__STORAGE_PATH": str(spool),
        "SPOOLHOUSE_SPOOL__BASE_PATH": "",
    }
    script = block.replace(SPOOL, str(spool)).replace(SAMPLES, str(tmp_path / "samples"))
    assert "/var/" not in script
    needs_none = bool({words[1] for words in words_of(block)} & IN_THE_WAY)
    with a_day_later(prepared_database, spool, runs=not needs_none):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_nothing_else_in_a_block() -> None:
    assert {words[0] for words in OTHERS} == ABROAD
    assert len(OURS) > 10


@pytest.mark.parametrize("words", [words for words in OTHERS if words[0] == "make"], ids=" ".join)
def test_targets_exist(words: list[str]) -> None:
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_make_run_lands_its_samples(database: Database, tmp_path: Path) -> None:
    """The commands of its recipe; with --once and one after the other, so that they end."""
    environment = {**os.environ, "MAKEFLAGS": "", "SPOOLHOUSE_CLICKHOUSE__URL": database.native_url}
    dry = ["make", "--no-print-directory", "--dry-run", "run", f"URL={database.native_url}"]
    shown = subprocess.run(
        dry, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    recipe = "mkdir -p var/spool\n" + shown.partition("mkdir -p var/spool\n")[2].replace(
        ".venv/bin", str(SCRIPT.parent)
    )
    recipe, ends = re.subn(r" --every 1 --pid \$\$ (.*) & \\\n *exec", r" \1\n", recipe)
    assert ends == 1
    assert recipe.rstrip().endswith("spoolhouse ingest --file-storage-path var/spool")
    subprocess.run(["bash", "-euc", f"{recipe.rstrip()} --once"], cwd=tmp_path, env=environment, check=True, timeout=90)
    [(rows,)] = database.query("SELECT sum(total_rows) FROM system.tables WHERE database = currentDatabase()")
    assert int(rows) > 20_000


@pytest.mark.parametrize("words", [words for words in OTHERS if words[0] == "systemctl"], ids=" ".join)
def test_the_unit_is_ours(words: list[str]) -> None:
    verb, *rest = words[1:]
    assert verb in {"daemon-reload", "enable", "start", "stop", "restart", "edit"}
    units = [word for word in rest if not word.startswith("--")]
    assert units == ([] if verb == "daemon-reload" else ["spoolhouse"])
    assert (ROOT / "systemd" / "spoolhouse.service").exists()


def test_what_is_installed_is_where_the_unit_expects_it() -> None:
    """`tests/repo/test_wheel.py` installs the wheel, and finds the unit at this place below its prefix."""
    unit = (ROOT / "systemd" / "spoolhouse.service").read_text()
    [made, installed] = [words for words in OTHERS if words[-1] in {"/opt/spoolhouse", ".[daemon]"}][:2]
    assert made == ["python3", "-m", "venv", "/opt/spoolhouse"]
    assert installed == ["/opt/spoolhouse/bin/pip", "install", ".[daemon]"]
    [copied] = [words[1] for words in OTHERS if words[0] == "cp"]
    assert copied == "/opt/spoolhouse/share/spoolhouse/spoolhouse.service"
    assert "\nExecStart=/opt/spoolhouse/bin/spoolhouse " in unit
    [credential] = [words[-1] for words in OTHERS if words[:2] == ["install", "-D"]]
    assert f"LoadCredential={Path(credential).name}" in unit


@pytest.mark.parametrize("words", [words for words in OTHERS if words[:2] == ["docker", "compose"]], ids=" ".join)
def test_compose_is_told_of_what_there_is(words: list[str]) -> None:
    assert words[2] == "--file"
    services = yaml.safe_load((ROOT / words[3]).read_text())["services"]
    verb, *rest = [word for word in words[4:] if not word.startswith("--")]
    assert verb in {"up", "exec", "logs"}
    assert rest[:1] == [] if verb == "up" else rest[0] in services
    if verb == "exec":
        assert (rest[1], command(*rest[2:], "--help").returncode) == ("spoolhouse", 0)


def test_a_container_is_run_as_the_dockerfile_says() -> None:
    [run] = [words for words in OTHERS if words[:2] == ["docker", "run"]]
    assert f"#     {' '.join(run)}\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("page", ALL)
def test_commands_and_flags_in_the_text_exist(page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", ALL[page], flags=re.DOTALL | re.MULTILINE)
    for text in re.findall(r"`spoolhouse ([a-z][^`]*)`", prose):
        name, *rest = text.split()
        helped = command(name, "--help")
        assert helped.returncode == 0, text
        assert [word for word in rest if word.startswith("--") and word not in helped.stdout] == []


def test_ci_runs_the_test_command() -> None:
    assert ["make", "test"] in OTHERS
    script = (ROOT / ".ci" / "run").read_text()
    assert set(re.findall(r"^(?:(?:nice )?make|tests) ([a-z-]+)(?= )", script, re.MULTILINE)) == {
        "check",
        "test",
        "test-replicas",
        "test-browser",
    }


def test_the_python_example_lands(database: Database, tmp_path: Path) -> None:
    [block] = blocks("python", README)
    assert len([line for line in block.splitlines() if line]) == 5
    subprocess.run([sys.executable, "-c", block.replace(SPOOL, str(tmp_path))], check=True, timeout=60)
    assert settled(database, tmp_path) == ({"spans": 1}, 0)


def test_the_example_lines_land(database: Database, tmp_path: Path) -> None:
    [block] = blocks("json", README)
    drop(tmp_path, "span", "shop", "a.jsonl", block.encode())
    assert settled(database, tmp_path) == ({"spans": block.count("\n")}, 0)


def settled(database: Database, spool: Path) -> tuple[object, object]:
    """Ingest a spool of one file; return how many rows landed, and how many lines were rejected."""
    code, daemon = once(database.native_url, spool, env={"SPOOLHOUSE_SPOOL__PROJECT": "reject"})
    assert code == 0, daemon.told()
    [record] = daemon.events("file_settled")
    return record["rows"], record["rejected"]


def test_the_readme_is_short() -> None:
    assert README.count("\n") <= 120


@pytest.mark.parametrize("page", ALL)
def test_what_it_points_to_is_there(page: str) -> None:
    text = ALL[page]
    here = (ROOT / page).parent
    links = {target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target}
    named = set(re.findall(r"`(tests/[^`*]+|config/[^`*]+)`", text))
    found = {os.path.relpath(here / link, ROOT) for link in links if link} | named
    assert {target for target in found if not (ROOT / target).exists()} == set()


@pytest.mark.parametrize(
    ("text", "root"),
    [
        (spoolhouse.__doc__ or "", ROOT / "daemon/spoolhouse"),
        ((ROOT / "tests/README.md").read_text().partition("## ")[0], ROOT / "tests"),
    ],
    ids=["the package", "tests/README.md"],
)
def test_the_maps_show_what_there_is(text: str, root: Path) -> None:
    """Each folder with something of ours in it, and no file or folder that is not there."""
    folders = {f"{path.parent.name}/" for path in root.glob("*/*.py")}
    assert {folder for folder in folders if f"`{folder}`" not in text} == set()
    named = re.findall(r"`([a-z_]+(?:/|\.py))`", text)
    assert {name for name in named if not any((path / name).exists() for path in (root, ROOT))} == set()


def test_the_layout_is_the_one_that_there_is() -> None:
    package = ROOT / "daemon/spoolhouse"
    named = set(re.findall(r"`daemon/spoolhouse/([a-z_/]+)/`", PAGES["docs/architecture.md"]))
    there = {path.parent.name for path in package.glob("*/*.py")}
    missing = {name for name in named if not (package / name).exists()}
    unnamed = there - {name.partition("/")[0] for name in named}
    assert (missing, unnamed) == (set(), set())


@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_linked(page: str) -> None:
    assert f"]({page})" in README


def test_the_changelog_has_its_form() -> None:
    """Keep a Changelog: what is not released comes first, the newest release is this one, each change is of a kind."""
    text = (ROOT / "CHANGELOG.md").read_text()
    unreleased, *releases = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert unreleased == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", release) for release in releases]
    dated = [(tuple(map(int, one[1].split("."))), date.fromisoformat(one[2])) for one in found if one]
    assert len(dated) == len(releases)
    assert dated == sorted(dated, reverse=True)
    assert ".".join(map(str, dated[0][0])) == spoolhouse.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == spoolhouse.__version__
    kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert kinds[0] == "Added"
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_prefix_is_explained_where_a_table_is_first_named() -> None:
    """The whole name is what a page's reader meets in ClickHouse."""
    for page, text in ALL.items():
        paragraphs = text.split("\n\n")
        first = next((number for number, part in enumerate(paragraphs) if "mastra_admin_" in part), None)
        if first is not None:
            assert "clickhouse.table_prefix" in " ".join(paragraphs[: first + 2]), page


@pytest.mark.parametrize(
    "setting",
    sorted(
        {name for text in ALL.values() for name in re.findall(r"`([a-z]+\.[a-z_]+)`", text)}
        - {name for row in FIELDS for name in re.findall(r"`([a-z]+\.[a-z_]+)`", row)}
    ),
)
def test_settings_exist(setting: str) -> None:
    """All that has a setting's form, but for names of files, of ClickHouse's own tables, and of the client `q`."""
    if setting.partition(".")[0] not in {"system", "journal", "q"}:
        assert f"| `{setting}` |" in PAGES["docs/configuration.md"]


def test_what_it_helps_with_is_said_somewhere() -> None:
    """Each message of the troubleshooting table is one that the program has."""
    table = PAGES["docs/operations.md"].partition("## Troubleshooting")[2]
    messages = [
        name for row in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    ]
    sources = "\n".join(path.read_text() for path in (ROOT / "daemon").rglob("*.py"))
    assert len(messages) > 15
    assert [message for message in messages if message not in sources] == []
