"""A shipment's files to decoded pieces and rounds, the same way each time."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import aiofiles
import structlog
from aiofiles.threadpool.binary import AsyncFileIO

from spoolhouse import pulse
from spoolhouse.core.declaration import EventType, Table
from spoolhouse.core.jsonl import Decoded, Line, Origin
from spoolhouse.core.ports import Rows
from spoolhouse.core.shipment import CHUNK_BYTES, Limits, Segment, Shipment
from spoolhouse.errors import OperatorError
from spoolhouse.failpoints import reach
from spoolhouse.spool.editions import Editions
from spoolhouse.spool.home import Home
from spoolhouse.spool.layout import Encoding
from spoolhouse.spool.reading import CORRUPT, MOST_LINES, LongLine, Read, SegmentReader

log = structlog.get_logger(__name__)

_SILENCE_BYTES = 4 << 20
"""How much input may pass without a row for the shipment's own table before its round ends: an insert that is kept
waiting for rows is broken off by the server."""
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""What is no fault of the file: opening it is tried again."""
_PASSING_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class RoundEnd:
    """The batches of a round are complete; what follows belongs to the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A segment's file cannot be read on; what came before stands."""

    failure: str


Step = Read | LongLine | Unreadable


_Small = list[tuple[Segment, list[Step] | None]]


@dataclass(slots=True)
class _Fill:
    """How full the batches of one round are."""

    own_rows: int = 0
    own_bytes: int = 0
    side_bytes: int = 0
    silent_bytes: int = 0
    """Input since the last row for the shipment's own table."""
    side_rows: dict[str, int] = field(default_factory=dict)

    def has_room(self, decoded: Decoded, own: str, limits: Limits) -> bool:
        """Tell whether the rows still fit into this round's batches; an empty round takes anything."""
        own_bytes, side_bytes = self.own_bytes, self.side_bytes
        most_rows = 0
        for table, rows in decoded.rows.items():
            if table == own:
                own_bytes += len(rows.data)
                most_rows = max(most_rows, self.own_rows + rows.count)
            else:
                side_bytes += len(rows.data)
                most_rows = max(most_rows, self.side_rows.get(table, 0) + rows.count)
        return (self.own_rows == 0 and self.side_bytes == 0) or (
            most_rows <= limits.max_rows and own_bytes <= limits.max_insert_bytes and side_bytes <= limits.side_bytes
        )

    def is_silent(self, size: int, decoded: Decoded | None, own: str) -> bool:
        """Count input of `size` bytes; tell whether its own batch has been without rows for too long."""
        self.silent_bytes += size
        if decoded is not None and own in decoded.rows:
            self.silent_bytes = 0
        return self.own_rows > 0 and self.silent_bytes > _SILENCE_BYTES

    def count(self, decoded: Decoded, own: str) -> None:
        """Count rows in."""
        for table, rows in decoded.rows.items():
            if table == own:
                self.own_rows += rows.count
                self.own_bytes += len(rows.data)
            else:
                self.side_rows[table] = self.side_rows.get(table, 0) + rows.count
                self.side_bytes += len(rows.data)


class Reader:
    """Reads shipments, the same way each time: also when the declarations change meanwhile."""

    def __init__(
        self, homes: Mapping[str, Home], events: Mapping[str, EventType], fingerprint: str, executor: Executor
    ) -> None:
        """Read files of `homes`; decode in `executor`. `fingerprint`: that of shipments claimed under `events`."""
        self._homes = homes
        self._executor = executor
        self.editions = Editions(events, fingerprint)

    def own_table(self, shipment: Shipment) -> str:
        """Return the table that the events of the shipment's type land in; none if there is no such type any more."""
        event = self.editions.of(shipment).events.get(shipment.type)
        return "" if event is None else event.table.name

    def table(self, shipment: Shipment, name: str) -> Table:
        """Return the declaration of a table that the shipment has rows for."""
        return self.editions.of(shipment).tables[name]

    async def steps(
        self, shipment: Shipment, *, numbered: bool = False
    ) -> AsyncGenerator[tuple[Segment, Step] | RoundEnd]:
        """Yield what the shipment's segments hold, in order, and where a round ends.

        `numbered`: each piece tells how many lines of its file stand before it.
        """
        current = _Fill()
        own = self.own_table(shipment)
        async with aclosing(self._pieces(shipment, numbered=numbered)) as pieces:
            async for segment, step in pieces:
                if isinstance(step, Read):
                    if not current.has_room(step.decoded, own, shipment.limits):
                        yield RoundEnd()
                        current = _Fill()
                    current.count(step.decoded, own)
                yield segment, step
                size, decoded = _input(step)
                if current.is_silent(size, decoded, own):
                    yield RoundEnd()
                    current = _Fill()

    async def rows(
        self, shipment: Shipment, table: str, round_number: int, expected: "asyncio.Future[int]"
    ) -> AsyncGenerator[Rows]:
        """Yield the rows for one table in one round once more, from the files.

        Raises `OperatorError`, after the last of them, if they are not as many as the first time: somebody has taken
        or changed a file, and the rest must not pass for the whole.
        """
        counted = 0
        async with aclosing(self._again(shipment, table, round_number)) as pieces:
            async for rows in pieces:
                counted += rows.count
                yield rows
        with pulse.resting():
            expected_rows = await expected
        if counted != expected_rows:
            raise OperatorError(
                f"shipment {shipment.id} holds {counted} rows for {table} where it held {expected_rows}",
                mend="a claimed file was taken or changed, or cannot be read just now: put it back",
            )

    async def _again(self, shipment: Shipment, table: str, round_number: int) -> AsyncGenerator[Rows]:
        current = 0
        async with aclosing(self.steps(shipment)) as steps:
            async for step in steps:
                if isinstance(step, RoundEnd):
                    current += 1
                    if current > round_number:
                        return
                elif current == round_number and isinstance(step[1], Read):
                    rows = step[1].decoded.rows.get(table)
                    if rows is not None:
                        yield rows

    async def locate(
        self, shipment: Shipment, table: str, round_number: int, numbers: Collection[int]
    ) -> AsyncGenerator[tuple[Segment, int, Line]]:
        """Yield the line that each of some rows of a batch came from, given the rows' numbers in it (from 0), in order.

        With each comes its segment, and how many lines of the file stand before its piece. `Line.row` is the number in
        the batch.
        """
        before = 0
        current = 0
        async with aclosing(self.steps(shipment, numbered=True)) as steps:
            async for step in steps:
                if isinstance(step, RoundEnd):
                    current += 1
                elif current == round_number and isinstance(read := step[1], Read):
                    rows = read.decoded.rows.get(table)
                    count = 0 if rows is None else rows.count
                    wanted = [number - before for number in numbers if before <= number < before + count]
                    if wanted:
                        origin = self._origin(shipment, step[0])
                        decoder = self.editions.of(shipment).decoder
                        for line in decoder.lines_of(read.piece, origin, table, wanted):
                            yield step[0], read.lines_before, replace(line, row=before + line.row)
                    before += count

    async def _pieces(self, shipment: Shipment, *, numbered: bool) -> AsyncGenerator[tuple[Segment, Step]]:
        for group in _small_together(shipment, self._homes[shipment.instance]):
            if len(group) > 1:
                loop = asyncio.get_running_loop()
                read = await loop.run_in_executor(self._executor, self._read_small, shipment, group, numbered)
            else:
                read = [(group[0], None)]
            for segment, steps in read:
                for step in steps or ():
                    yield segment, step
                if steps is None:
                    async with aclosing(self._segment(shipment, segment, numbered=numbered)) as pieces:
                        async for step in pieces:
                            yield segment, step

    def _read_small(self, shipment: Shipment, segments: list[Segment], numbered: bool) -> "_Small":  # noqa: FBT001  # an executor passes by position
        """Read segments that together are no more than a chunk, in one visit to the worker thread.

        The seven visits that a file costs otherwise take longer than the decoding of a hundred lines. None stands for
        a file that cannot be opened just now, or of which all lines together might not be held.
        """
        home = self._homes[shipment.instance]
        results: _Small = []
        lines = 0
        for segment in segments:
            steps: list[Step] = []
            try:
                reach("read.small")
                descriptor = home.open(segment.file)
                try:
                    content = _read_at(descriptor, segment.start, segment.end - segment.start)
                finally:
                    os.close(descriptor)
                lines += content.count(b"\n")
                if lines > MOST_LINES:
                    results.append((segment, None))
                    continue
                reader = self._segment_reader(shipment, segment, numbered=numbered)
                steps += reader.feed(content)
                if len(content) < segment.end - segment.start:
                    steps.append(_shorter(segment.end - segment.start - len(content)))
                steps += reader.finish()
            except OSError as error:
                if error.errno in _PASSING:
                    results.append((segment, None))
                    continue
                steps.append(_unreadable(error))
            results.append((segment, steps))
        return results

    def _origin(self, shipment: Shipment, segment: Segment) -> Origin:
        place = self._homes[shipment.instance].files[segment.file].place
        limits = shipment.limits
        return Origin(
            project=place.project,
            policy=limits.project,
            clock_ms=shipment.clock_ms,
            expired=limits.expired,
            future=limits.future,
        )

    def _segment_reader(self, shipment: Shipment, segment: Segment, *, numbered: bool) -> SegmentReader:
        home = self._homes[shipment.instance]
        return SegmentReader(
            home.path(segment.file),
            segment.start,
            home.files[segment.file].place.encoding,
            self.editions.of(shipment).decoder,
            self._origin(shipment, segment),
            shipment.limits.max_line,
            numbered=numbered,
        )

    async def _segment(self, shipment: Shipment, segment: Segment, *, numbered: bool) -> AsyncGenerator[Step]:
        home = self._homes[shipment.instance]
        encoding = home.files[segment.file].place.encoding
        reader = self._segment_reader(shipment, segment, numbered=numbered)
        left = segment.end - segment.start
        # Nothing of it may be held as one chunk if even a line of that length is too long.
        chunk_bytes = min(CHUNK_BYTES, shipment.limits.max_line)
        try:
            reach("read.open")
            descriptor = await self._open(home, segment.file)
            async with aiofiles.open(descriptor, "rb", buffering=0) as content:
                await content.seek(segment.start)
                while left > 0:
                    chunk = await _read_full(content, min(chunk_bytes, left))
                    reach("read.chunk")
                    if not chunk:
                        yield _shorter(left)
                        break
                    left -= len(chunk)
                    async for step in self._in_thread(reader.feed(chunk), encoding):
                        yield step
                async for step in self._in_thread(reader.finish(), encoding):
                    yield step
        except (OSError, *CORRUPT) as error:
            yield _unreadable(error)

    async def _open(self, home: Home, number: int) -> int:
        while True:
            try:
                return await asyncio.to_thread(home.open, number)
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
                log.warning("open_delayed", path=str(home.files[number].place), error=error.strerror)
            await asyncio.sleep(_PASSING_PAUSE)

    async def _in_thread(self, steps: Iterator[Read | LongLine], encoding: Encoding) -> AsyncGenerator[Read | LongLine]:
        loop = asyncio.get_running_loop()
        if encoding is Encoding.PLAIN:
            is_end = False
            while not is_end:
                found, is_end = await loop.run_in_executor(self._executor, _some, steps)
                for step in found:
                    yield step
            return
        # One step at a time: a small packed chunk may hold gigabytes.
        while (packed := await loop.run_in_executor(self._executor, next, steps, None)) is not None:
            yield packed


def _some(steps: Iterator[Read | LongLine]) -> tuple[list[Read | LongLine], bool]:
    """Return what comes next, nearly always all of it, and whether that is all: not too many rejected lines at once."""
    found = []
    rejected = 0
    for step in steps:
        found.append(step)
        rejected += len(step.decoded.rejects) if isinstance(step, Read) else 0
        if rejected >= MOST_LINES:
            return found, False
    return found, True


def _small_together(shipment: Shipment, home: Home) -> Iterator[list[Segment]]:
    """Yield the segments of a shipment in order, those in groups that together are no more than a chunk."""
    limit = min(CHUNK_BYTES, shipment.limits.max_line)
    group: list[Segment] = []
    size = 0
    for segment in shipment.segments:
        length = segment.end - segment.start
        plain = home.files[segment.file].place.encoding is Encoding.PLAIN
        if group and (not plain or size + length > limit):
            yield group
            group, size = [], 0
        if plain and length <= limit:
            group.append(segment)
            size += length
        else:
            yield [segment]
    if group:
        yield group


def _read_at(descriptor: int, start: int, size: int) -> bytes:
    """Read `size` bytes from `start`, fewer only at the end of the file."""
    content = os.pread(descriptor, size, start)
    while len(content) < size and (more := os.pread(descriptor, size - len(content), start + len(content))):
        content += more
    return content


def _shorter(missing: int) -> Unreadable:
    return Unreadable(failure=f"shorter by {missing} bytes than when it was claimed")


def _unreadable(error: Exception) -> Unreadable:
    if isinstance(error, CORRUPT):
        return Unreadable(failure=f"corrupt archive: {error}")
    if isinstance(error, FileNotFoundError):
        return Unreadable(failure="gone")
    return Unreadable(failure=str(getattr(error, "strerror", None) or error))


def _input(step: Step) -> tuple[int, Decoded | None]:
    """Return how many bytes of content a step stands for, and the rows in them."""
    match step:
        case Read(piece=piece, decoded=decoded):
            return len(piece.data), decoded
        case LongLine(part=part):
            return len(part.data), None
    return 0, None


async def _read_full(content: AsyncFileIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end of the file: which rows are in which batch must not hang on a read."""
    chunk = await content.read(size)
    while len(chunk) < size and (more := await content.read(size - len(chunk))):
        chunk += more
    return bytes(chunk)
