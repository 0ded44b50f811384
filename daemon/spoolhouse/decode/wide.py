"""The wide readers: one line at a time, independent of its neighbours, nearly as fast as in bulk.

They take most legal lines: flat or enveloped, camelCase or snake_case, epoch numbers, numbers as text, lines
without a type, a project or an id. The open ones also take unknown fields, digits as times, and choices by near names.
Other lines are for the lenient reader.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from spoolhouse.decode.reject import RefusedError
from spoolhouse.decode.row_compiler import ManyRows, OpenRows, WideRows, many_rows, open_rows, wide_rows
from spoolhouse.decode.structs import TAGS, Shape, struct
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import EventType, Fill, Kind, other_case

SECOND_COLON = 14
"""No line's second colon comes before this, and the first one of `{"event_type":` does."""

_HEAD = re.compile(rb'\s*\{\s*"(?:event_)?type"\s*:\s*"([^"\\]*)"\s*,\s*"([^"\\]*)"\s*')
_TYPE = re.compile(rb'"(?:event_)?type"\s*:\s*"([^"\\]*)"')
_QUOTED_TAGS = tuple(b'"%b"' % tag.encode() for tag in TAGS)
_ENVELOPE = re.compile(rb'\s*\{\s*"data"\s*:\s*\{')
_MOST_PREFIXES = 256
_LONGEST_PREFIX = 128
_MOST_LEARNED = 24
_LONGEST_LEARNED = 64


_fields_of = msgspec.json.Decoder(dict[str, Raw]).decode


class _Data(msgspec.Struct, gc=False):
    data: dict[str, Raw]


_data_of = msgspec.json.Decoder(_Data).decode


class ManyLines(NamedTuple):
    """Reads many lines at once; any ValueError means that they have to be read in another way."""

    decode: Callable[[bytes], list[Any]]
    rows: ManyRows


class _Opened(NamedTuple):
    """Reads lines with unknown fields. Replaced as a whole, because several threads may use it."""

    shape: Shape
    names: tuple[tuple[str, str], ...]
    """The unknown fields that lines have had: attributes of the struct, and keys. A producer writes the same fields
    again and again; a learned field costs as much as a known one."""
    decode: Callable[[bytes], Any]
    """The decoder of lines that have no others."""
    decode_lines: Callable[[bytes], list[Any]]
    """The same of many lines."""
    decode_any: Callable[[bytes], Any]
    rows: OpenRows


def _opened(event: EventType, shape: Shape, names: Iterable[str], rows: OpenRows) -> _Opened:
    ordered = sorted(names)
    decoder = msgspec.json.Decoder(struct(event, shape, ordered))
    return _Opened(
        shape=shape,
        names=tuple((f"u{place}", name) for place, name in enumerate(ordered)),
        decode=decoder.decode,
        decode_lines=decoder.decode_lines,
        decode_any=msgspec.json.Decoder(struct(event, shape)).decode,
        rows=rows,
    )


class WideReader:
    """The wide reader of one event type, flat or enveloped; its decoders are made when they are first used."""

    def __init__(
        self, event: EventType, marks: Iterable[str], *, enveloped: bool, ours: Collection[str] | None = None
    ) -> None:
        """Read `event`. `marks`: keys that foreign shapes are recognized by.

        `ours`: lines of a foreign shape may stand in its folder, but none with one of these keys.
        """
        self.name = event.name
        names = json_paths.tree(event, enveloped=enveloped, wide=True).names()
        self._is_shared = ours is not None and not enveloped
        self._ours = tuple(names[key] for key in ours or () if key in names)
        self.gives_one_row = event.gives_one_row
        self.derives_ids = any(column.fill is Fill.LINE for column in event.parts[0].columns)
        self._event = event
        self.is_enveloped = enveloped
        self.time_keys = frozenset(
            json_paths.spelt(key)
            for column in event.parts[0].columns
            if column.kind is Kind.TIME
            for key in json_paths.of_column(column, enveloped=enveloped, wide=True)
        )
        """Keys of times."""
        self._takes_type = not enveloped and any(column.takes_type for part in event.parts for column in part.columns)
        known = frozenset(json_paths.tree(event, enveloped=enveloped, wide=True).keys())
        self._known = known if enveloped else known.union(TAGS)
        self._special = frozenset(
            {
                *marks, *TAGS, "data",
                *(key for part in event.parts for column in part.columns for key in column.implied),
                *(other_case(part.each) for part in event.parts if part.each),
            }
        )  # fmt: skip
        """Unknown fields that may mean more than themselves: lines with one of them are for the lenient reader."""

    @cached_property
    def decode(self) -> Callable[[bytes], Any]:
        """The decoder of one line; any ValueError means that another reader has to read it."""
        return msgspec.json.Decoder(struct(self._event, Shape(enveloped=self.is_enveloped, wide=True))).decode

    @cached_property
    def rows(self) -> WideRows:
        """The function that makes rows of the structs that `decode` returns."""
        return wide_rows(self._event, Shape(enveloped=self.is_enveloped, wide=True))

    @cached_property
    def many(self) -> ManyLines:
        """The same as `decode` and `rows`, for many lines."""
        return self._many(text_times=False)

    @cached_property
    def many_text_times(self) -> ManyLines:
        """The same, where times may be digits as text."""
        return self._many(text_times=True)

    def _many(self, *, text_times: bool) -> ManyLines:
        shape = Shape(enveloped=self.is_enveloped, wide=True, many=True, text_times=text_times)
        return ManyLines(msgspec.json.Decoder(struct(self._event, shape)).decode_lines, many_rows(self._event, shape))

    def read_open(self, line: bytes) -> tuple[Any, dict[str, Raw], OpenRows]:
        """Return a line with any unknown fields: its struct, these fields by name, the function that makes its rows.

        Any ValueError means that another reader has to read it.
        """
        opened = self._opened
        try:
            event = opened.decode(line)
        except msgspec.ValidationError as error:
            if "unknown field" in str(error):
                return self._read_any(opened, line)
            if opened.shape.text_times or suspect_of(error) not in self.time_keys:
                raise
            # From here on the reader takes times that are digits as text, and pays for it.
            names = (name for _, name in opened.names)
            shape = opened.shape._replace(text_times=True)
            self._opened = _opened(self._event, shape, names, open_rows(self._event, shape))
            return self.read_open(line)
        content = event.data if self.is_enveloped else event
        unknown = {}
        for place, name in opened.names:
            value = getattr(content, place)
            if value is not None:
                unknown[name] = value
        return event, unknown, opened.rows

    def read_open_lines(self, data: bytes) -> tuple[list[Any], tuple[tuple[str, str], ...], OpenRows]:
        """Return many lines, the unknown fields that they may have, and the function that makes their rows.

        An unknown field is given by its attribute of the struct and its key. Only learned ones are taken.

        Any ValueError means that the lines have to be read one by one.
        """
        opened = self._opened
        return opened.decode_lines(data), opened.names, opened.rows

    def _read_any(self, opened: "_Opened", line: bytes) -> tuple[Any, dict[str, Raw], OpenRows]:
        """Read a line whose other fields are not those that were learned, and learn them."""
        event = opened.decode_any(line)
        fields = _data_of(line).data if self.is_enveloped else _fields_of(line)
        names = fields.keys() - self._known
        if not self._special.isdisjoint(names):
            raise ValueError(names)
        known = {name for _, name in opened.names}
        if len(known) < _MOST_LEARNED:
            fresh = sorted(name for name in names - known if len(name) <= _LONGEST_LEARNED)
            if fresh:
                learned = [*known, *fresh[: _MOST_LEARNED - len(known)]]
                self._opened = _opened(self._event, opened.shape, learned, opened.rows)
        return event, {name: fields[name] for name in sorted(names)}, opened.rows

    @cached_property
    def _opened(self) -> "_Opened":
        shape = Shape(enveloped=self.is_enveloped, wide=True, open=True)
        return _opened(self._event, shape, (), open_rows(self._event, shape))

    def may_be_foreign(self, line: Any) -> bool:
        """Tell whether a line with unknown fields may be of a foreign shape."""
        return self.is_untyped(line) and all(getattr(line, name) is None for name in self._ours)

    def is_untyped(self, line: Any) -> bool:
        """Tell whether a line that is refused may be of a foreign shape."""
        return self._is_shared and self.name not in {line.t0, line.t1}

    def is_right(self, line: Any, folder: str, events: Mapping[str, EventType]) -> bool:
        """Tell whether a decoded line is of this event type, by its own tags and by its folder."""
        if line.t0 is None:
            return bool(line.t1 == self.name or (line.t1 is None and folder == self.name))
        if line.t1 is not None:
            return False
        return bool(line.t0 == self.name or (self._takes_type and folder == self.name and line.t0 not in events))


def suspect_of(error: Exception) -> str:
    """Return the top-level key that a wide reader refused a line for, as far as it says."""
    if isinstance(error, RefusedError):
        return error.key
    if not isinstance(error, msgspec.ValidationError):
        return ""
    _, at, path = str(error).rpartition("`$.")
    key = path.removesuffix("`").removeprefix("data.")
    return key if at and key.isidentifier() else ""


class WideReaders:
    """Finds the wide reader for a line by its first bytes. A wrong guess costs time, and changes nothing."""

    def __init__(
        self, events: Mapping[str, EventType], marks: Iterable[str], shared: Mapping[str, Collection[str]]
    ) -> None:
        self._events = events
        self._marks = tuple(marks)
        self._shared = shared
        self._readers: dict[tuple[str, bool], WideReader] = {}
        self._by_folder: dict[str, dict[bytes, WideReader]] = {}
        self._foreign = frozenset(f'{{"{key}"'.encode() for key in self._marks)
        """First bytes of many lines of foreign shapes."""

    def by_prefix(self, folder: str) -> dict[bytes, WideReader]:
        """Return the readers found for a folder's lines, by their bytes up to the second colon: type and next key."""
        return self._by_folder.setdefault(folder if folder in self._events else "", {})

    def meant(self, line: Any, guessed: WideReader, folder: str) -> WideReader | None:
        """Return the reader that a line, decoded by another one, names itself or by its folder."""
        named = line.t0 or line.t1 or folder
        found = self._reader(named, enveloped=guessed.is_enveloped)
        return found if found is not guessed and not (line.t0 and line.t1) else None

    def is_foreign(self, line: bytes) -> bool:
        """Tell whether a line begins as many of a foreign shape do."""
        return line[: line.find(b":", SECOND_COLON)] in self._foreign

    def guess(self, line: bytes, folder: str) -> WideReader | None:
        """Return the reader that probably takes `line`, in the folder of an event type."""
        prefix = line[: line.find(b":", SECOND_COLON)]
        if prefix in self._foreign:
            return None
        if head := _HEAD.fullmatch(prefix):
            enveloped = head[2] == b"data"
            found = self._reader(_text(head[1]), enveloped=enveloped) or self._reader(folder, enveloped=enveloped)
            known = self.by_prefix(folder)
            if found and len(known) < _MOST_PREFIXES and len(prefix) <= _LONGEST_PREFIX:
                known[prefix] = found
            return found
        enveloped = line.startswith((b'{"data"', b"{ ", b" ")) and _ENVELOPE.match(line) is not None
        for tag in _QUOTED_TAGS:
            place = line.find(tag)
            for where in (place, line.rfind(tag)) if place >= 0 else ():
                named = _TYPE.match(line, where)
                if named and (reader := self._reader(_text(named[1]), enveloped=enveloped)):
                    return reader
        return self._reader(folder, enveloped=enveloped)

    def _reader(self, name: str, *, enveloped: bool) -> WideReader | None:
        """Return the reader of an event type, made when it is first wanted; None for any other name."""
        key = name, enveloped
        if key not in self._readers and name in self._events:
            made = WideReader(self._events[name], self._marks, enveloped=enveloped, ours=self._shared.get(name))
            self._readers.setdefault(key, made)  # another thread may have made it meanwhile
        return self._readers.get(key)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")
