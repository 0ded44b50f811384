"""A reload: the settings are read again, and the live ones change in the running daemon.

A live setting is declared as `Live`. Any other changed setting is logged, because it needs a restart. A journalled
shipment keeps the limits and the event types that it was planned with.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from spoolhouse.settings import Settings
from spoolhouse.settings.base import RELOADABLE


class Reloaded(Struct, frozen=True, kw_only=True):
    """The differences between the settings in force and the settings just read."""

    settings: Settings
    """In force from now on."""
    taken: Mapping[str, str]
    """The live settings that changed, with their new values."""
    needs_restart: Sequence[str]
    """The changed settings that keep their old value until a restart."""


def is_reloadable(name: str) -> bool:
    """Tell whether a running daemon takes the setting over."""
    return RELOADABLE in Settings.names()[name].metadata


def take_over(old: Settings, fresh: Settings) -> Reloaded:
    """Return the old settings with the live ones taken from `fresh`."""
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
