"""A reload: the settings are read again, and those that can change under a running daemon do.

What can is marked where it is declared (`Live`); all else needs a restart, and is named. Work that is journalled keeps
the limits that it was journalled with, and the event types that it was first read by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spoolhouse.settings import Settings
from spoolhouse.settings.base import RELOADABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """What came of comparing the settings in force with those that were read."""

    settings: Settings
    """In force from now on."""
    taken: Mapping[str, str]
    """What changed, and its value from now on."""
    needs_restart: Sequence[str]
    """What differs, and stays as it is until then."""


def is_reloadable(name: str) -> bool:
    """Tell whether a running daemon takes the setting over."""
    return RELOADABLE in Settings.names()[name].metadata


def take_over(old: Settings, fresh: Settings) -> Reloaded:
    """Return the old settings with what can change replaced by the fresh ones."""
    differ = [name for name in Settings.names() if _value(old, name) != _value(fresh, name)]
    taken = {name: str(_value(fresh, name)) for name in differ if is_reloadable(name)}
    groups: dict[str, dict[str, object]] = {}
    for name in taken:
        group, _, setting = name.partition(".")
        groups.setdefault(group, {})[setting] = _value(fresh, name)
    changed = {group: getattr(old, group).model_copy(update=values) for group, values in groups.items()}
    return Reloaded(
        settings=old.model_copy(update=changed),
        taken=taken,
        needs_restart=[name for name in differ if name not in taken],
    )


def _value(settings: Settings, name: str) -> object:
    group, _, setting = name.partition(".")
    return getattr(getattr(settings, group), setting)
