"""config/spoolhouse.toml: every setting in its order, with its default and a reason."""

import re
import tomllib
from pathlib import Path

import pytest

from spoolhouse.configuration import load
from spoolhouse.reload import is_reloadable
from spoolhouse.settings import Settings

FILE = Path(__file__).parents[2] / "config" / "spoolhouse.toml"
TEXT = FILE.read_text()

_TABLE = re.compile(r"\[(\w+)\]")
_SETTING = re.compile(r"(# )?(\w+) = (.+)")


def listed() -> list[tuple[str, bool, str]]:
    """Return each setting's dotted name, whether it is commented out, and the line above it."""
    found = []
    group = before = ""
    for line in TEXT.splitlines():
        if table := _TABLE.fullmatch(line):
            group = table[1]
        elif setting := _SETTING.fullmatch(line):
            found.append((f"{group}.{setting[2]}", setting[1] is not None, before))
        before = line
    return found


def test_every_setting_is_there_in_order() -> None:
    assert [name for name, _, _ in listed()] == list(Settings.names())


def test_every_setting_has_a_reason_above_it() -> None:
    assert [name for name, _, before in listed() if not before.startswith("# ")] == []


def test_only_what_has_no_default_is_commented_out() -> None:
    without = [name for name, field in Settings.names().items() if field.default is None]
    assert [name for name, commented, _ in listed() if commented] == without


def test_it_says_which_settings_a_reload_changes() -> None:
    group = ""
    live = []
    for line in TEXT.splitlines():
        if table := _TABLE.fullmatch(line):
            group = table[1]
        elif (setting := _SETTING.fullmatch(line)) and setting[3].endswith("  # live"):
            live.append(f"{group}.{setting[2]}")
    assert live == [name for name in Settings.names() if is_reloadable(name)]


def test_it_says_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = tomllib.loads(TEXT)
    assert Settings.model_validate(groups) == Settings()
    monkeypatch.setenv("SPOOLHOUSE_CONFIG", str(FILE))
    assert load() == Settings()


def test_what_is_commented_out_would_be_accepted() -> None:
    live = re.sub(r"^# (\w+ = )", r"\1", TEXT, flags=re.MULTILINE)
    settings = Settings.model_validate(tomllib.loads(live))
    assert settings.spool.storage_path is not None
    assert settings.clickhouse.password is not None
