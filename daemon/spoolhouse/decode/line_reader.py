"""Reads one line of ours or of a foreign shape, however it is written; or explains why it cannot be read."""

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import NamedTuple, NoReturn

import msgspec
from msgspec import Raw

from spoolhouse.decode import nan
from spoolhouse.decode.lenient import At, LenientReader
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.reject import Reason, RejectedLineError
from spoolhouse.decode.rows import Row
from spoolhouse.decode.shaped_batches import ShapedBatches
from spoolhouse.decode.shaped_rows import ShapedRows
from spoolhouse.decode.structs import TAGS
from spoolhouse.decode.values import NULL, Notes, json_text
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import EventType, Key
from spoolhouse.events.shapes.shape import Shape, ShapedBatch, ShapedEvent, ShapeError

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_NOT_OF_ITS_TYPE = frozenset({Reason.MISSING_FIELD, Reason.WRONG_TYPE})
_ENVELOPE = "envelope"
"""In `extra`, the fields beside the `data` of an enveloped line."""

_object_of = msgspec.json.Decoder(dict[str, Raw]).decode
_text_of = msgspec.json.Decoder(str).decode


class Read(NamedTuple):
    """The events of a line."""

    events: list[tuple[str, list[list[Row]]]]
    """By event, its type and its rows by table."""
    notes: Notes
    shape: str = ""
    """The foreign shape that it has."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing was converted and nothing is unknown."""
        return not (self.shape or self.notes.converted or self.notes.unknown or self.notes.originals)


class _Names(NamedTuple):
    """Keys of an event type that tell an envelope from a flat line."""

    project: tuple[Key, ...]
    time: tuple[Key, ...]
    known: frozenset[str]
    """Keys that have a column inside an envelope."""


class LineReader:
    """Reads lines that the faster readers do not take."""

    def __init__(self, events: Mapping[str, EventType], shapes: Iterable[Shape]) -> None:
        """Prepare the readers of `events`; `shapes` are in order of precedence."""
        self._events = events
        self._readers: dict[tuple[str, bool], LenientReader] = {}
        self._names: dict[str, _Names] = {}
        self._shapes = tuple(shapes)
        self.marks = frozenset(key for shape in self._shapes if not shape.is_untyped for key in shape.keys)
        """Keys that foreign shapes are recognized by, in lines with a type of ours too."""
        self._marks = self.marks.union(*(shape.keys for shape in self._shapes))
        self.shared = {folder: shape.ours for shape in self._shapes if shape.is_untyped for folder in shape.folders}
        """Folders where a line without a type of ours may be of a foreign shape, and keys that such a line has not."""
        self._foreign = {name: event.shaped or event for name, event in events.items()}
        self._shaped_readers: dict[str, LenientReader] = {}
        self._batches = ShapedBatches(self._foreign)
        self._heads = {f'{{"{key}"'.encode(): shape for shape in self._shapes if shape.batches for key in shape.keys}
        """By the first bytes of a line, the shape that probably makes many events of it."""
        self.shaped_rows = ShapedRows(self._foreign)

    def heads(self, folder: str) -> Mapping[bytes, Shape]:
        """Return the shapes that probably read lines in an event type's folder, by the first bytes of the lines."""
        return {
            head: shape
            for shape in self._shapes
            if not shape.folders or folder in shape.folders
            for head in shape.heads
        }

    def read(self, line: bytes, origin: Origin, at: At, suspect: str = "", *, notes: Notes | None = None) -> Read:
        """Return the events of one line; raises `RejectedLineError`.

        `suspect`: the key that another reader has refused the line for. If it is at fault, no more is read. `notes`
        gets the conversions and unknown fields, also of a line that is rejected in the end.
        """
        try:
            shape = self._heads.get(line[: line.find(b":")]) if notes is None else None
            read = self._read_batches(shape, line, origin, at) if shape else None
            return read or self._read(line, origin, at, suspect, Notes() if notes is None else notes)
        except UnicodeDecodeError as error:
            raise RejectedLineError(Reason.INVALID_UNICODE, detail=error.reason) from None
        except RecursionError:
            raise RejectedLineError(Reason.TOO_DEEP, detail="nested too deeply") from None

    def _read_batches(self, shape: Shape, line: bytes, origin: Origin, at: At) -> Read | None:
        """Return the many events of a line that probably has a foreign shape; None if it has to be read another way."""
        if shape.batches is None or (shape.folders and origin.type not in shape.folders):
            return None
        events: list[tuple[str, list[list[Row]]]] = []
        notes, number = Notes(), 0
        try:
            for batch in shape.batches(line):
                events.append(self._batch(batch, origin, at, notes, number))
                number += len(batch.extra)
            return _permitted(Read(events, notes, shape.name), origin)
        except (ValueError, RecursionError):
            return None

    def shape_of(self, fields: Mapping[str, Raw], folder: str) -> Shape | None:
        """Return the foreign shape of a line with these fields, in the folder of an event type; None if it has none."""
        if not self._marks.isdisjoint(fields):
            for shape in self._shapes:
                if (
                    not shape.keys.isdisjoint(fields)
                    and (not shape.folders or folder in shape.folders)
                    and not (shape.is_untyped and self._is_typed(fields))
                    and shape.matches(fields)
                ):
                    return shape
        return None

    def _read(self, line: bytes, origin: Origin, at: At, suspect: str, notes: Notes) -> Read:
        fields = fields_of(line, notes)
        if shape := self.shape_of(fields, origin.type):
            return _permitted(Read(self._shaped(shape, fields, origin, at, notes), notes, shape.name), origin)
        name, given = self._name(fields, origin.type)
        try:
            rows = self._own(name, fields, origin, at, notes, suspect)
        except RejectedLineError as error:
            if self.may_be_foreign(error, origin) and (read := self._read_untyped(line, origin, at, notes)):
                return read
            if not given:
                raise
            detail = f"no event type {given[:40]!r}, and no {name}: {error.field} {error.detail}"
            raise RejectedLineError(Reason.UNKNOWN_TYPE, "type", detail) from None
        return _permitted(Read([(name, rows)], notes), origin)

    def may_be_foreign(self, error: RejectedLineError, origin: Origin) -> bool:
        """Tell whether a line that is rejected as one of our types may be of a foreign shape."""
        return error.reason in _NOT_OF_ITS_TYPE and origin.type in self.shared

    def _read_untyped(self, line: bytes, origin: Origin, at: At, notes: Notes) -> Read | None:
        """Return the events of a foreign line whose `type` has the name of one of ours; None if it is ours."""
        own = Notes(derived=None if notes.derived is None else [])
        fields = fields_of(line, own)
        for shape in self._shapes:
            is_possible = shape.is_untyped and origin.type in shape.folders and self._is_typed(fields)
            if is_possible and shape.keys & fields.keys() and not shape.ours & fields.keys():
                try:
                    events = self._shaped(shape, fields, origin, at, own)
                except RejectedLineError:
                    continue
                notes.converted, notes.unknown, notes.derived = own.converted, own.unknown, own.derived
                return _permitted(Read(events, notes, shape.name), origin)
        return None

    def _shaped(
        self, shape: Shape, fields: dict[str, Raw], origin: Origin, at: At, notes: Notes
    ) -> list[tuple[str, list[list[Row]]]]:
        """Return the events that a foreign shape makes of a line."""
        found: list[tuple[str, list[list[Row]]]] = []
        number = 0
        try:
            for event in shape.read(fields):
                if isinstance(event, ShapedBatch):
                    found.append(self._batch(event, origin, at, notes, number))
                    number += len(event.extra)
                    continue
                if event.type not in self._events:
                    raise RejectedLineError(Reason.UNKNOWN_TYPE, "type", f"no event type {event.type[:40]!r}")
                here = at._replace(id=f"{at.id}.{number}") if number else at
                found.append((event.type, self._rows_of(event, here, notes, keep=_keeps(origin))))
                number += 1
        except ShapeError as error:
            reason = Reason.MISSING_FIELD if error.is_missing else Reason.WRONG_TYPE
            raise RejectedLineError(reason, error.field, error.detail) from None
        except msgspec.ValidationError as error:
            raise RejectedLineError(Reason.WRONG_TYPE, "", f"{shape.name}: {error}") from None
        return found

    def _batch(
        self, batch: ShapedBatch, origin: Origin, at: At, notes: Notes, number: int
    ) -> tuple[str, list[list[Row]]]:
        """Return the rows of a batch; `number` events of the line come before it."""
        notes.converted.extend(batch.converted)
        notes.unknown.extend(dict.fromkeys(chain.from_iterable(batch.unknown.values())))
        rows = self._batches.rows(batch, at.clock, at.project, at.id, number, keep=_keeps(origin))
        return batch.type, [rows]

    def _rows_of(self, event: ShapedEvent, at: At, notes: Notes, *, keep: bool) -> list[list[Row]]:
        """Return the rows of an event that a foreign shape made; raises `RejectedLineError`."""
        notes.unknown.extend(event.unknown)
        own = Notes(converted=notes.converted, originals=dict(event.kept), unknown=notes.unknown, derived=notes.derived)
        try:
            return self._shaped_reader(event.type).rows(event.fields, at, own, dict(event.unknown), keep=keep)
        except RejectedLineError as error:
            error.field = event.names.get(error.field, error.field)
            raise

    def _own(  # noqa: PLR0917  # a line, and how to read it
        self, name: str, fields: dict[str, Raw], origin: Origin, at: At, notes: Notes, suspect: str
    ) -> list[list[Row]]:
        """Return the rows of a line of ours. With a project at its top it is flat, also with an object `data`."""
        names = self._names.get(name) or self._names.setdefault(name, _names(self._events[name]))
        unknown: dict[str, object] = {}
        content = _envelope(fields, names)
        if content is None:
            content, enveloped = fields, False
        else:
            enveloped = True
            beside = {key: value for key, value in fields.items() if key != "data" and value != NULL}
            if beside:
                unknown[_ENVELOPE] = beside
                notes.unknown.extend(beside)
            if "event_type" in content and _text_or_none(content["event_type"]) == name:
                del content["event_type"]
            if "type" in content and "type" not in names.known and _text_or_none(content["type"]) == name:
                del content["type"]
        reader = self._reader(name, enveloped=enveloped)
        if notes.nulls:
            inner = _object_of(notes.nulls.get("data", Raw(b"{}"))) if enveloped else notes.nulls
            nan.clear_in_texts(content, inner, reader)
        if suspect:
            reader.check(suspect, content)
        return reader.rows(content, at, notes, unknown, keep=_keeps(origin))

    def _reader(self, name: str, *, enveloped: bool) -> LenientReader:
        """Return the reader of an event type, made when it is first wanted."""
        key = name, enveloped
        return self._readers.get(key) or self._readers.setdefault(
            key, LenientReader(self._events[name], enveloped=enveloped)
        )

    def _shaped_reader(self, name: str) -> LenientReader:
        """Return the reader of an event type's fields in lines of a foreign shape, made when it is first wanted."""
        return self._shaped_readers.get(name) or self._shaped_readers.setdefault(
            name, LenientReader(self._foreign[name], enveloped=True)
        )

    def _is_typed(self, fields: Mapping[str, Raw]) -> bool:
        """Tell whether a line names a type of ours."""
        return any(tag in fields and _text_or_none(fields[tag]) in self._events for tag in TAGS)

    def _name(self, fields: dict[str, Raw], folder: str) -> tuple[str, str]:
        """Return the event type of a line, and the `type` that it gives itself if that is none of ours.

        Takes the key that named the type out of `fields`.
        """
        for tag in TAGS:
            if fields.get(tag) == NULL:
                del fields[tag]
        given: dict[str, str] = {tag: _text_or_none(fields[tag]) or "" for tag in TAGS if tag in fields}
        for text in given.values():
            if text in self._events:
                for tag in TAGS:
                    if given.get(tag) == text:
                        del fields[tag]
                return text, ""
        if folder in self._events:
            return folder, next(iter(given.values()), "")
        for key, text in given.items():
            detail = f"no event type {text[:40]!r}" if text else "the type is not text"
            raise RejectedLineError(Reason.UNKNOWN_TYPE, key, detail)
        raise RejectedLineError(Reason.MISSING_FIELD, "type", "required")


def _names(event: EventType) -> _Names:
    def keys(name: str) -> tuple[Key, ...]:
        return json_paths.of_column(event.column(name), enveloped=False, wide=True)

    tree = json_paths.tree(event, enveloped=True, wide=True)
    return _Names(keys(event.project), keys(event.table.time), frozenset(tree.keys()))


def _envelope(fields: dict[str, Raw], names: _Names) -> dict[str, Raw] | None:
    """Return the fields inside an enveloped line; None for a flat one.

    A flat line may have an object of its own called `data`: it names its project or its time at the top.
    """
    data = fields.get("data")
    if data is None or not json_text(data).startswith("{") or any(_has(fields, key) for key in names.project):
        return None
    content = _object_of(data)
    if any(_has(fields, key) for key in names.time) and not any(_has(content, key) for key in names.time):
        return None
    return content


def _has(fields: Mapping[str, Raw], key: Key) -> bool:
    """Tell whether a key leads to a value."""
    first, *rest = json_paths.steps(key)
    raw = fields.get(first)
    if raw is None or raw == NULL:
        return False
    return not rest or (json_text(raw).startswith("{") and _has(_object_of(raw), tuple(rest)))


def _keeps(origin: Origin) -> bool:
    return origin.unknown != "drop"


def _permitted(read: Read, origin: Origin) -> Read:
    """Return `read`, unless the policy rejects its unknown fields."""
    if origin.unknown == "reject" and read.notes.unknown:
        raise RejectedLineError(Reason.UNKNOWN_FIELD, read.notes.unknown[0], "no column takes it (events.unknown)")
    return read


def _text_or_none(raw: Raw) -> str | None:
    try:
        return _text_of(raw)
    except ValueError:
        return None


def fields_of(line: bytes, notes: Notes) -> dict[str, Raw]:
    """Return the top-level fields of a line, undecoded; raises `RejectedLineError`."""
    try:
        return _object_of(line)
    except msgspec.ValidationError as error:
        raise RejectedLineError(Reason.NOT_AN_OBJECT, detail=str(error)) from None
    except msgspec.DecodeError as error:
        if found := nan.fields(line, notes):
            return found
        _raise_malformed(line, error)


def is_whole_object(line: bytes) -> bool:
    """Tell whether `line` is one complete JSON object of any content: then a last line only lacks its line end."""
    try:
        msgspec.json.decode(line, type=_Any)
    except RecursionError:
        return True
    except ValueError:
        # A torn line is looked at again and again: most of them end elsewhere.
        _, nulls = nan.replaced(line) if line.rstrip().endswith(b"}") else (b"", b"")
        return bool(nulls) and is_whole_object(nulls)
    return True


class _Any(msgspec.Struct, gc=False):
    """Any object."""


def _raise_malformed(line: bytes, error: Exception) -> NoReturn:
    """Reject a line that is no JSON, or that has a lone surrogate: JSON by its grammar, but no Unicode."""
    if b"\\u" in line and is_whole_object(_SURROGATE_ESCAPE.sub(rb"\\ufffd", line)):
        raise RejectedLineError(Reason.INVALID_UNICODE, detail="a lone surrogate") from None
    raise RejectedLineError(Reason.INVALID_JSON, detail=str(error)) from None
