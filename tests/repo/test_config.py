"""The reference of the settings: what is committed is what `spoolhouse config` prints, and it is complete and true."""

import re
import tomllib
from pathlib import Path

import pytest

from spoolhouse.settings import Settings
from spoolhouse.settings.sources import load
from tests.process.daemon import command

ROOT = Path(__file__).parents[2]
FILE = ROOT / "config" / "spoolhouse.toml"
TEXT = FILE.read_text()
PAGE = (ROOT / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize(
    ("flags", "path"), [([], FILE), (["--markdown"], ROOT / "docs" / "configuration.md")], ids=["TOML", "Markdown"]
)
def test_what_is_committed_is_what_is_printed(flags: list[str], path: Path) -> None:
    """To renew one: spoolhouse config > config/spoolhouse.toml, or spoolhouse config --markdown > its page in docs/."""
    # What would be refused elsewhere: the reference reads no settings.
    done = command("config", *flags, env={"SPOOLHOUSE_SPOOL__QUIET": "-1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == path.read_text()


def test_reading_it_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.model_validate(tomllib.loads(TEXT)) == Settings()
    monkeypatch.setenv("SPOOLHOUSE_CONFIG", str(FILE))
    assert load() == Settings()


def test_it_gives_each_setting_that_has_a_default() -> None:
    given = {f"{group}.{name}" for group, values in tomllib.loads(TEXT).items() for name in values}
    assert given == {name for name, field in Settings.names().items() if field.default is not None}


def test_its_examples_are_accepted() -> None:
    """They are what is commented out: without the sign, every setting is given."""
    groups = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", TEXT, flags=re.MULTILINE))
    Settings.model_validate(groups)
    assert [f"{group}.{name}" for group, values in groups.items() for name in values] == list(Settings.names())


def test_each_setting_has_a_meaning() -> None:
    """A comment above it in the file, and a sentence in its row of the page."""
    lines = TEXT.splitlines()
    settings = [number for number, line in enumerate(lines) if re.match(r"(# )?\w+ = ", line)]
    assert [lines[number] for number in settings if not lines[number - 1].startswith("# ")] == []
    rows = re.findall(r"^\| `([\w.]+)` \| .+ \| (?:live)? \| [A-Z`].+\. \|$", PAGE, re.MULTILINE)
    assert rows == list(Settings.names())


def test_it_fits_its_width() -> None:
    assert max(map(len, TEXT.splitlines())) <= 120
