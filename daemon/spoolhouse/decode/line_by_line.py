"""The lines of one piece, each read on its own by the fastest reader that takes it."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import Any

from spoolhouse.decode.decoded import Found, JudgedType
from spoolhouse.decode.lenient import At
from spoolhouse.decode.line_reader import LineReader, Read
from spoolhouse.decode.line_splitter import Piece, parts
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.reject import Reason, Reject, RejectedLineError
from spoolhouse.decode.rows import Row
from spoolhouse.decode.shaped_lines import ShapedLines
from spoolhouse.decode.wide import SECOND_COLON, WideReader, WideReaders, suspect_of
from spoolhouse.events import json_paths
from spoolhouse.events.declaration import EventType

_NOTHING: Mapping[str, object] = {}
_BLANK = b" \t\r\n"
_CHUNK = 1 << 16
"""Bytes of lines of a foreign shape that are decoded together: one of another shape costs so many their advantage."""
_DETAIL_LENGTH = 200
_TRUNCATED = "Input data was truncated"
"""The JSON decoder's word for a line that ends too early: every reader would say the same."""


class LineByLine:
    """Reads the lines of one piece one by one, into `found`."""

    def __init__(
        self, events: Mapping[str, EventType], wide: WideReaders, reader: LineReader, origin: Origin, found: Found
    ) -> None:
        self._events = events
        self._wide = wide
        self._reader = reader
        self._origin = origin
        self._found = found
        self._decoded = found.decoded
        self._clock = origin.clock
        self._prefix = origin.id_prefix
        self._shaped = ShapedLines(events, reader, origin, found)
        self._types: dict[str, JudgedType] = {}
        self._refused: set[WideReader] = set()
        """Wide readers that did not take their last line: the next one probably goes the same way."""

    def read(self, piece: Piece) -> None:
        """Read all lines."""
        shape = self._shaped.shape_of(piece.data)
        number = 1
        for some in (piece,) if shape is None else parts(piece, _CHUNK):
            decoded = None if shape is None else self._shaped.decoded(shape, some.data)
            if shape is None or decoded is None:
                self._read_each(some, number)
            else:
                for here, line, offset in self._shaped.rest(shape, some, number, decoded):
                    self._one(None, line, here, offset, None, [])
            if shape is not None:
                number += some.data.count(b"\n")

    def _read_each(self, piece: Piece, first: int) -> None:  # noqa: C901, PLR0912  # calls cost more than what they would do
        by_prefix = self._wide.by_prefix(self._origin.type)
        folder, project, clock, prefix = self._origin.type, self._origin.project, self._clock, self._prefix
        refused, take, heads = self._refused, self._shaped.take, self._shaped.heads
        offset, taken = piece.offset, 0
        notes: list[str] = []
        judged: dict[str, tuple[int, int, datetime, datetime, list[Row]]] = {}
        for number, line in enumerate(BytesIO(piece.data), first):
            head = line[: line.find(b":", SECOND_COLON)]
            if head in heads and take(heads[head], line, offset):
                offset += len(line)
                continue
            wide = by_prefix.get(head) or self._wide.guess(line, folder)
            rows: Any = None
            if wide is not None and wide not in refused:
                try:
                    event = wide.decode(line)
                    if (event.t0 == wide.name and event.t1 is None) or wide.is_right(event, folder, self._events):
                        rows = wide.rows(event, clock, project, prefix, offset, notes)
                    elif meant := self._wide.meant(event, wide, folder):
                        wide = meant  # the guess was wrong
                        rows = wide.rows(wide.decode(line), clock, project, prefix, offset, notes)
                except (ValueError, RecursionError):
                    notes.clear()
            if rows is None or notes or not wide.gives_one_row:  # type: ignore[union-attr]  # it gave rows
                self._one(wide, line, number, offset, rows, notes)
                notes.clear()
            else:
                # Here the most lines pass: `_judge` and `_found.take` in short.
                about = judged.get(wide.name)  # type: ignore[union-attr]  # it gave a row
                if about is None:
                    about = judged[wide.name] = self._about(wide.name)  # type: ignore[union-attr]  # it gave a row
                place, when, oldest, newest, out = about
                if rows[place] != project or rows[when] is None or not oldest <= rows[when] < newest:
                    if rows[place] != project and self._origin.policy == "reject":
                        self._reject(line, number, offset, self._type(wide.name).mismatch())  # type: ignore[union-attr]  # it gave a row
                    else:
                        self._one(wide, line, number, offset, rows, notes)
                else:
                    out.append(rows)
                    taken += 1
            offset += len(line)
        self._decoded.lines += taken

    def read_leniently(self, line: bytes, number: int, offset: int) -> None:
        """Read one line that no wide reader takes."""
        self._one(None, line, number, offset, None, [])

    def _about(self, name: str) -> tuple[int, int, datetime, datetime, list[Row]]:
        kind = self._type(name)
        return kind.project_place, kind.time_place, kind.oldest, kind.newest, self._found.rows[kind.tables[0]]

    def _type(self, name: str) -> JudgedType:
        if name not in self._types:
            self._types[name] = JudgedType(self._events[name], self._origin)
        return self._types[name]

    def _one(  # noqa: PLR0917  # a line, where it stands, and what was made of it
        self, wide: WideReader | None, line: bytes, number: int, offset: int, rows: Any, notes: list[str]
    ) -> None:
        """Take a line that a wide reader gave `rows` of, or read it another way; or reject it."""
        try:
            if rows is not None and wide is not None:
                self._take(wide, rows, notes, ())
            elif line.lstrip(_BLANK):  # not strip, which would copy each line
                self._read_open(wide, line, offset)
        except RejectedLineError as error:
            self._reject(line, number, offset, error)

    def _reject(self, line: bytes, number: int, offset: int, error: RejectedLineError) -> None:
        # Only the last line of a file can be without its end; cut off in the middle, it is no JSON.
        torn = error.reason is Reason.INVALID_JSON and not line.endswith(b"\n")
        self._decoded.rejects.append(
            Reject(
                line=number,
                offset=offset,
                reason=Reason.TORN if torn else error.reason,
                field=error.field,
                detail=error.detail[:_DETAIL_LENGTH],
                raw=line.removesuffix(b"\n").removesuffix(b"\r"),
            )
        )

    def _take(self, wide: WideReader, rows: Any, converted: Collection[str], unknown: Collection[str]) -> None:
        self._judge(wide.name, ([rows],) if wide.gives_one_row else rows, self._found)
        if converted or unknown:
            self._found.count_notes(converted, unknown)
        self._decoded.lines += 1

    def _read_open(self, wide: WideReader | None, line: bytes, offset: int) -> None:
        """Read a line by the open wide reader, or by the line reader if that does not take it."""
        if wide is None:
            self._read_leniently(line, offset)
            return
        notes: list[str] = []
        originals: dict[str, object] = {}
        rows: Any = None
        event: Any = None
        unknown: Mapping[str, object] = _NOTHING
        origin, suspect = self._origin, ""
        self._refused.add(wide)
        try:
            event, unknown, make_rows = wide.read_open(line)
            is_plain = not unknown or (origin.unknown != "reject" and not wide.may_be_foreign(event))
            if is_plain and wide.is_right(event, origin.type, self._events):
                kept = unknown if origin.unknown == "keep" else _NOTHING
                rows = make_rows(event, self._clock, origin.project, self._prefix, offset, notes, kept, originals)
        except RejectedLineError as error:
            # Final, unless the line's `type` is none of ours: then the type is at fault. A fault inside an array is for
            # the lenient reader, which names the element.
            is_sure = (event.t0 is None or event.t0 == wide.name) and not wide.is_untyped(event)
            if error.field and "." not in error.field and is_sure and not self._reader.may_be_foreign(error, origin):
                raise
        except (ValueError, RecursionError) as error:
            # Of a line that ends like an object, it may be the error of a value in it.
            if str(error) == _TRUNCATED and not line.rstrip(_BLANK).endswith(b"}"):
                raise RejectedLineError(Reason.INVALID_JSON, detail=_TRUNCATED) from None
            suspect = suspect_of(error)
        if rows is None:
            self._read_leniently(line, offset, suspect)
            return
        if not (unknown or notes or originals):
            self._refused.discard(wide)
        self._take(wide, rows, notes, unknown)

    def _read_leniently(self, line: bytes, offset: int, suspect: str = "") -> None:
        at = At(self._clock, self._origin.project, f"{self._prefix}{offset:012x}")
        self._accept_all(self._reader.read(line, self._origin, at, suspect))

    def _accept_all(self, read: Read) -> None:
        """Take the rows of all events of a line, or of none."""
        if len(read.events) == 1 and len(read.events[0][1][0]) == 1:
            self._judge(*read.events[0], self._found)
        else:
            mismatched = self._decoded.mismatched
            trial = Found()
            for name, rows in read.events:
                self._judge(name, rows, trial)
            self._decoded.mismatched = mismatched + (trial.decoded.mismatched > 0)
            self._decoded.expired += trial.decoded.expired > 0
            self._decoded.future += trial.decoded.future > 0
            for table, some in trial.rows.items():
                self._found.rows[table] += some
        self._found.count_notes(read.notes.converted, read.notes.unknown)
        if read.shape:
            self._decoded.shapes[read.shape] = self._decoded.shapes.get(read.shape, 0) + 1
        self._decoded.lines += 1

    def _judge(self, name: str, rows: Sequence[list[Row]], found: Found) -> None:
        """Take the rows of events of one type, unless a policy rejects one of them."""
        kind = self._type(name)
        project, oldest, newest = self._origin.project, kind.oldest, kind.newest
        place, when = kind.project_place, kind.time_place
        own: Any
        for own in rows[0]:
            if own[place] != project:
                if self._origin.policy == "reject":
                    raise kind.mismatch()
                found.decoded.mismatched += 1
            time = own[when]
            if time is not None and not oldest <= time < newest:
                self._judge_time(kind, time, found)
        # An event of a foreign shape may have rows of its own table alone.
        for table, some in zip(kind.tables, rows, strict=False):
            if some:
                found.rows[table] += some

    def _judge_time(self, kind: JudgedType, time: datetime, found: Found) -> None:
        """Count an event's time that is out of bounds, or raise `RejectedLineError` if it is to be rejected."""
        key = json_paths.spelt(kind.event.column(kind.event.table.time).keys[0])
        if time < kind.oldest:
            if self._origin.expired == "reject":
                detail = f"older than the {kind.event.table.ttl_days} days that it is kept"
                raise RejectedLineError(Reason.EXPIRED, key, detail)
            found.decoded.expired += 1
        else:
            if self._origin.future == "reject":
                raise RejectedLineError(Reason.FUTURE, key, "more than a day ahead of the time of ingest")
            found.decoded.future += 1
