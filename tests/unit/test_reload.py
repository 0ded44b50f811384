"""A reload: what can change does, what cannot is named, and the two together are every setting."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.service.options import make_options
from spoolhouse.service.reload import is_reloadable, take_over
from spoolhouse.settings import Settings

ONE_VALUE_ONLY = {"spool.storage_type"}
NAMES = [name for name in Settings.names() if name not in ONE_VALUE_ONLY]


def other(name: str) -> object:
    """Return a value that is not the setting's default; whether it is accepted does not matter here."""
    default = Settings.names()[name].default
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default / 2 if isinstance(default, float) else default // 2
    return "other" if isinstance(default, str) else 7


def changed(*names: str) -> Settings:
    settings = Settings()
    for name in names:
        group, _, setting = name.partition(".")
        settings = settings.model_copy(
            update={group: getattr(settings, group).model_copy(update={setting: other(name)})}
        )
    return settings


def value(settings: Settings, name: str) -> object:
    group, _, setting = name.partition(".")
    found = getattr(settings, group)
    assert isinstance(found, BaseModel)
    return getattr(found, setting)


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_is_taken_over_or_named(name: str) -> None:
    old, fresh = Settings(), changed(name)
    assert value(old, name) != value(fresh, name)
    reloaded = take_over(old, fresh)
    if is_reloadable(name):
        assert reloaded.settings == fresh
        assert list(reloaded.taken) == [name]
        assert reloaded.needs_restart == []
    else:
        assert reloaded.settings == old
        assert reloaded.taken == {}
        assert reloaded.needs_restart == [name]


def test_what_can_change_does_beside_what_cannot() -> None:
    fresh = changed("clickhouse.url", "log.level", "spool.quiet", "workers.decoders")
    reloaded = take_over(Settings(), fresh)
    assert reloaded.settings == changed("log.level", "spool.quiet")
    assert reloaded.taken == {"log.level": "other", "spool.quiet": "0.15"}
    assert reloaded.needs_restart == ["clickhouse.url", "workers.decoders"]


def test_the_same_settings_change_nothing() -> None:
    reloaded = take_over(Settings(), Settings())
    assert (reloaded.settings, reloaded.taken, reloaded.needs_restart) == (Settings(), {}, [])


def test_no_secret_is_told() -> None:
    fresh = Settings.model_validate({"clickhouse": {"password": "hunter2"}})
    reloaded = take_over(Settings(), fresh)
    assert reloaded.needs_restart == ["clickhouse.password"]
    assert "hunter2" not in repr(reloaded)


SERVICE_READS = {"events.folder", "events.traces_from_root_spans", "log.level", "log.format", "shutdown.grace"}
"""What the service uses itself."""


@pytest.mark.parametrize("name", [name for name in NAMES if is_reloadable(name) and name not in SERVICE_READS])
def test_each_reaches_a_stage(name: str) -> None:
    """The stages' options differ, once a setting that a reload takes over differs."""
    assert make_options(changed(name), BUILT_IN, once=False) != make_options(Settings(), BUILT_IN, once=False)


def test_a_run_with_an_end_gives_up_after_the_grace() -> None:
    assert make_options(Settings(), BUILT_IN, once=True).retry.patience == Settings().shutdown.grace
    assert make_options(Settings(), BUILT_IN, once=False).retry.patience is None


def test_paths_are_compared_as_paths() -> None:
    given = {"spool": {"storage_path": "/srv/spool/"}}
    same = Settings.model_validate({"spool": {"storage_path": Path("/srv/spool")}})
    assert take_over(Settings.model_validate(given), same).needs_restart == []
