"""JSONL bytes to canonical rows and rejects."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, Union

import msgspec
from msgspec import Raw

from spoolhouse.core.declaration import EventType
from spoolhouse.core.lines import Piece
from spoolhouse.core.ports import Rows
from spoolhouse.core.reject import Reason, Reject, RejectedLineError
from spoolhouse.core.rows import LenientReader, Row, strict_rows, strict_struct

ProjectPolicy = Literal["trust", "warn", "reject"]
"""What happens to an event whose project is not its folder's; `trust` does not look."""

DECODER_VERSION = 1
"""Counts up with every change to what a line decodes into; a part of a shipment's fingerprint."""

_BLANK = b" \t\r\n"
_NULL = Raw(b"null")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_DETAIL_LENGTH = 200


class _Head(msgspec.Struct, rename="camel", gc=False):
    """As much of a line as tells what it is."""

    type: Raw = _NULL
    event_type: Raw = msgspec.field(default=_NULL, name="event_type")
    data: Raw = _NULL


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What decides how a line is read besides its bytes; all of it is journalled with the shipment."""

    project: str
    """The project whose folder the file was in."""
    policy: ProjectPolicy
    clock_ms: int

    @property
    def clock(self) -> datetime:
        """Return the shipment's clock as an aware time."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self.clock_ms)


@dataclass(slots=True, kw_only=True)
class Decoded:
    """What a piece of lines came to. `rows` is by event type; `lines` does not count blank ones."""

    rows: dict[str, Rows] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    lines: int = 0
    mismatched: int = 0
    """Rows whose project is not their folder's."""


class LineDecoder:
    """Decodes pieces of whole lines. Has no state that outlives a call: safe to use from several threads.

    A piece of clean lines of one shape is decoded in bulk. Where that fails, for any reason, the piece is read again
    line by line; the two ways agree, so it does not matter for a line in which company it came.
    """

    def __init__(self, events: Mapping[str, EventType]) -> None:
        """Prepare the readers of `events`, by discriminator value."""
        self._events = events
        self._lenient = {name: LenientReader(event) for name, event in events.items()}
        self._head = msgspec.json.Decoder(_Head).decode
        self._text = msgspec.json.Decoder(str).decode
        self._encode_lines = msgspec.json.Encoder().encode_lines
        self._project_place = {
            name: [column.name for column in event.table.columns].index(event.project)
            for name, event in events.items()
        }
        self._shapes = [self._shape(enveloped=False), self._shape(enveloped=True)]

    def _shape(self, *, enveloped: bool) -> tuple[Any, dict[type, tuple[str, Any]]]:
        """Return the bulk decoder of one shape, and by struct the event type and its row function."""
        structs = {name: strict_struct(event, enveloped=enveloped) for name, event in self._events.items()}
        functions = {
            structs[name]: (name, strict_rows(event, enveloped=enveloped)) for name, event in self._events.items()
        }
        union = Union[tuple(structs.values())]  # noqa: UP007  # there is no X | Y for a computed list
        return msgspec.json.Decoder(union).decode_lines, functions

    def decode(self, piece: Piece, origin: Origin) -> Decoded:
        """Decode `piece`; never raises for what is in it."""
        clock = origin.clock
        for decode_lines, functions in self._shapes:
            try:
                groups = _group(decode_lines(piece.data))
                rows = {functions[kind][0]: functions[kind][1](group, clock) for kind, group in groups.items()}
            except (ValueError, RecursionError):
                continue
            mismatched = self._mismatched(rows, origin)
            if mismatched and origin.policy == "reject":
                break
            return self._encoded(rows, mismatched)
        return self._line_by_line(piece, origin, clock)

    def _encoded(self, rows: Mapping[str, Sequence[Row]], mismatched: int) -> Decoded:
        decoded = Decoded(mismatched=mismatched)
        for name, some in rows.items():
            decoded.rows[name] = Rows(data=self._encode_lines(some), count=len(some))
            decoded.lines += len(some)
        return decoded

    def _mismatched(self, rows: Mapping[str, Sequence[Row]], origin: Origin) -> int:
        if origin.policy == "trust":
            return 0
        count = 0
        for name, some in rows.items():
            place = self._project_place[name]
            projects = {row[place] for row in some}
            if projects != {origin.project}:
                count += sum(row[place] != origin.project for row in some)
        return count

    def _line_by_line(self, piece: Piece, origin: Origin, clock: datetime) -> Decoded:
        rows: dict[str, list[Row]] = {}
        rejects: list[Reject] = []
        offset = piece.offset
        mismatched = 0
        lines = piece.data.split(b"\n")
        for number, line in enumerate(lines):
            if line.strip(_BLANK):
                try:
                    name, row = self._row(line, clock)
                    if origin.policy != "trust" and row[self._project_place[name]] != origin.project:
                        if origin.policy == "reject":
                            raise RejectedLineError(
                                Reason.PROJECT_MISMATCH,
                                self._events[name].table.column(self._events[name].project).keys[0],
                                "not the project of its folder",
                            )
                        mismatched += 1
                    rows.setdefault(name, []).append(row)
                except RejectedLineError as error:
                    # Only the last line of a file can be without its end; cut off in the middle, it is no JSON.
                    torn = number == len(lines) - 1 and error.reason is Reason.INVALID_JSON
                    rejects.append(
                        Reject(
                            line=number + 1,
                            offset=offset,
                            reason=Reason.TORN if torn else error.reason,
                            field=error.field,
                            detail=error.detail[:_DETAIL_LENGTH],
                            raw=line.removesuffix(b"\r"),
                        )
                    )
            offset += len(line) + 1
        decoded = self._encoded(rows, mismatched)
        decoded.rejects = rejects
        decoded.lines += len(rejects)
        return decoded

    def _row(self, line: bytes, clock: datetime) -> tuple[str, Row]:
        """Return the event type and the row of one line, or raise `RejectedLineError`."""
        try:
            head = self._head(line)
            name = self._name(head)
            return name, self._lenient[name].row(line, head.data, clock)
        except RecursionError:
            raise RejectedLineError(Reason.TOO_DEEP, detail="nested too deeply") from None
        except msgspec.ValidationError as error:
            raise RejectedLineError(Reason.NOT_AN_OBJECT, detail=str(error)) from None
        except msgspec.DecodeError as error:
            _raise_malformed(line, error)

    def _name(self, head: _Head) -> str:
        for key, raw in (("type", head.type), ("event_type", head.event_type)):
            if raw != _NULL:
                try:
                    name = self._text(raw)
                except (msgspec.ValidationError, UnicodeDecodeError):
                    raise RejectedLineError(Reason.UNKNOWN_TYPE, key, "the type is not text") from None
                if name not in self._events:
                    raise RejectedLineError(Reason.UNKNOWN_TYPE, key, f"no event type {name[:40]!r}")
                return name
        raise RejectedLineError(Reason.MISSING_FIELD, "type", "required")


def is_whole_object(line: bytes) -> bool:
    """Tell whether `line` is one complete JSON object, whatever is in it: a last line that only lacks its end."""
    try:
        msgspec.json.decode(line, type=_Head)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _group(events: Sequence[Any]) -> dict[type, Sequence[Any]]:
    kinds = {type(event) for event in events}
    if len(kinds) == 1:
        return {kinds.pop(): events}
    groups: dict[type, list[Any]] = {kind: [] for kind in kinds}
    for event in events:
        groups[type(event)].append(event)
    return dict(groups)


def _raise_malformed(line: bytes, error: Exception) -> NoReturn:
    """Tell a lone surrogate, which is JSON by its grammar but no Unicode, from what is no JSON at all."""
    if is_whole_object(_SURROGATE_ESCAPE.sub(rb"\\ufffd", line)):
        raise RejectedLineError(Reason.INVALID_UNICODE, detail="a lone surrogate") from None
    raise RejectedLineError(Reason.INVALID_JSON, detail=str(error)) from None
