"""The event types of this run: the built-in ones, and those that the files in `events.folder` declare."""

import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Protocol

from spoolhouse.errors import BadSettingError
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.custom import event_type
from spoolhouse.events.declaration import EventType
from spoolhouse.events.errors import DeclarationError
from spoolhouse.events.ledger import LEDGER
from spoolhouse.events.naming import LOCAL, names_of
from spoolhouse.events.root_spans import with_traces
from spoolhouse.events.tombstones import TOMBSTONES

SUFFIX = ".toml"


class Chosen(Protocol):
    """The settings that decide which event types there are."""

    @property
    def folder(self) -> Path | None:
        """The folder of declarations."""
        ...

    @property
    def traces_from_root_spans(self) -> bool:
        """Whether a root span of ours is a trace, too."""
        ...


def load(chosen: Chosen) -> dict[str, EventType]:
    """Return all event types by name; raises `BadSettingError`, which names the file, the key and what is wrong."""
    events = with_traces(BUILT_IN) if chosen.traces_from_root_spans else dict(BUILT_IN)
    return events if chosen.folder is None else _with_declared(events, chosen.folder)


def _with_declared(events: dict[str, EventType], folder: Path) -> dict[str, EventType]:
    """Add the event types that files declare."""
    taken = {name: "a built-in one" for event in BUILT_IN.values() for name in _objects(event)}
    taken |= dict.fromkeys((*names_of(LEDGER), *names_of(TOMBSTONES)), "a built-in one")
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    except OSError as error:
        raise BadSettingError(f"events.folder: {folder} cannot be read ({error.strerror})") from error
    for path in paths:
        try:
            event = event_type(_read(path))
            if event.name in events:
                raise DeclarationError("type", f"{event.name} is there already")
            own: set[str] = set()
            for name in _objects(event):
                if name in taken or name in own:
                    is_table = name in {event.table.name, LOCAL + event.table.name} and name in taken
                    key = "table" if is_table else "rollup.name"
                    raise DeclarationError(key, f"{name} is {taken.get(name, 'its own table')} already")
                own.add(name)
        except DeclarationError as error:
            raise BadSettingError(f"{path}: {error.key}: {error.reason}") from error
        events[event.name] = event
        taken |= dict.fromkeys(_objects(event), f"one of {path.name}")
    return events


def replace(events: MutableMapping[str, EventType], fresh: Mapping[str, EventType]) -> None:
    """Update `events`, which others hold a reference to, to equal `fresh`; what is in both is never missing."""
    events.update(fresh)
    for name in events.keys() - fresh.keys():
        del events[name]


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise BadSettingError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a TOMLDecodeError, or bytes that are no UTF-8
        raise BadSettingError(f"{path}: not TOML: {error}") from error


def _objects(event: EventType) -> list[str]:
    """Return the names of the tables and views that an event type has, without the prefix."""
    return [name for part in event.parts for name in names_of(part.table)]
