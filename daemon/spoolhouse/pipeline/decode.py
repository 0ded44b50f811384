"""Decode: reads a shipment's segments, validates their lines, and groups the rows into batches by table.

Promises: rows of the shipment's own type stream to their insert while they are being read; rows of other types wait
in memory, bounded, until that insert is fed; which batch a row is in depends on nothing but the journalled shipment
and its files, so that a batch can be opened again. A bad line harms no other line.
"""

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TypeVar

import aiofiles
import structlog
from aiofiles.threadpool.binary import AsyncFileIO

from spoolhouse.channel import Receiver, ReceiverGoneError, Sender, channel
from spoolhouse.core.declaration import EventType
from spoolhouse.core.jsonl import Decoded, LineDecoder, Origin
from spoolhouse.core.ports import Rows
from spoolhouse.core.shipment import CHUNK_BYTES, FileStats, Segment, Shipment
from spoolhouse.errors import OperatorError
from spoolhouse.pipeline.settle import Counted, News
from spoolhouse.spool.home import Home
from spoolhouse.spool.layout import Encoding
from spoolhouse.spool.reading import CORRUPT, LongLine, Read, SegmentReader
from spoolhouse.spool.rejects import RejectFile

log = structlog.get_logger(__name__)
T = TypeVar("T")

_SILENCE_BYTES = 4 << 20
"""How much input may pass without a row of the shipment's own type before its round ends: an insert that is kept
waiting for rows is broken off by the server."""
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR, errno.EAGAIN})
"""What is no fault of the file: opening it is tried again."""
_PASSING_PAUSE = 1.0
_READ_AHEAD = 3
"""Pieces of a batch that wait for its insert: enough that reading and sending overlap, little enough to hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A shipment's rows for one table, in one round: the first time as they come, after that read again."""

    id: str
    shipment: Shipment
    event: EventType
    round_number: int
    live: Receiver[Rows]
    reopen: Callable[["Batch"], AsyncGenerator[Rows]]
    count: "asyncio.Future[int]"
    """How many rows it has: known once the round is decoded for the first time."""


@dataclass(frozen=True, slots=True)
class RoundEnd:
    """The batches of a round are complete; what follows belongs to the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A segment's file cannot be read on; what came before stands."""

    failure: str


Step = Read | LongLine | Unreadable


@dataclass(slots=True)
class _Round:
    """The batches of one round while they fill."""

    number: int = 0
    live: Sender[Rows] | None = None
    live_dropped: bool = False
    side: dict[str, list[Rows]] = field(default_factory=dict)
    own_rows: int = 0
    own_bytes: int = 0
    side_bytes: int = 0
    silent_bytes: int = 0
    """Input since the last row of the shipment's own type."""
    live_count: "asyncio.Future[int] | None" = None
    side_rows: dict[str, int] = field(default_factory=dict)

    def has_room(self, decoded: Decoded, shipment: Shipment) -> bool:
        """Tell whether the rows still fit into this round's batches; an empty round takes anything."""
        limits = shipment.limits
        own = decoded.rows.get(shipment.type)
        own_rows = self.own_rows + (own.count if own else 0)
        own_bytes = self.own_bytes + (len(own.data) if own else 0)
        side_bytes = self.side_bytes + sum(len(r.data) for name, r in decoded.rows.items() if name != shipment.type)
        side_rows = max((self.side_rows.get(n, 0) + r.count for n, r in decoded.rows.items()), default=0)
        return (self.own_rows == 0 and self.side_bytes == 0) or (
            max(own_rows, side_rows) <= limits.max_rows
            and own_bytes <= limits.max_insert_bytes
            and side_bytes <= limits.side_bytes
        )

    def is_silent(self, size: int, decoded: Decoded | None, shipment: Shipment) -> bool:
        """Count input of `size` bytes; tell whether its own batch has been without rows for too long."""
        self.silent_bytes += size
        if decoded is not None and shipment.type in decoded.rows:
            self.silent_bytes = 0
        return self.own_rows > 0 and self.silent_bytes > _SILENCE_BYTES

    def count(self, decoded: Decoded, shipment: Shipment) -> None:
        """Count rows in."""
        for name, rows in decoded.rows.items():
            if name == shipment.type:
                self.own_rows += rows.count
                self.own_bytes += len(rows.data)
            else:
                self.side_rows[name] = self.side_rows.get(name, 0) + rows.count
                self.side_bytes += len(rows.data)


class Reader:
    """Reads shipments, the same way each time."""

    def __init__(
        self, homes: Mapping[str, Home], events: Mapping[str, EventType], decoder: LineDecoder, executor: Executor
    ) -> None:
        """Read files of `homes`; decode in `executor`."""
        self._homes = homes
        self._events = events
        self._decoder = decoder
        self._executor = executor

    def event(self, name: str) -> EventType:
        """Return the declaration of an event type."""
        return self._events[name]

    async def steps(self, shipment: Shipment) -> AsyncGenerator[tuple[Segment, Step] | RoundEnd]:
        """Yield what the shipment's segments hold, in order, and where a round ends."""
        current = _Round()
        for segment in shipment.segments:
            async with aclosing(self._segment(shipment, segment)) as steps:
                async for step in steps:
                    if isinstance(step, Read):
                        if not current.has_room(step.decoded, shipment):
                            yield RoundEnd()
                            current = _Round()
                        current.count(step.decoded, shipment)
                    yield segment, step
                    size, decoded = _input(step)
                    if current.is_silent(size, decoded, shipment):
                        yield RoundEnd()
                        current = _Round()

    async def reopen(self, batch: Batch) -> AsyncGenerator[Rows]:
        """Yield the rows of `batch` once more, from the files.

        Raises `OperatorError`, after the last of them, if they are not as many as the first time: somebody has taken
        or changed a file, and the rest must not pass for the whole.
        """
        counted = 0
        async with aclosing(self._again(batch)) as pieces:
            async for rows in pieces:
                counted += rows.count
                yield rows
        expected = await batch.count
        if counted != expected:
            raise OperatorError(
                f"batch {batch.id} holds {counted} rows where it held {expected}",
                mend="a claimed file was taken or changed, or cannot be read just now: put it back",
            )

    async def _again(self, batch: Batch) -> AsyncGenerator[Rows]:
        round_number = 0
        async with aclosing(self.steps(batch.shipment)) as steps:
            async for step in steps:
                if isinstance(step, RoundEnd):
                    round_number += 1
                    if round_number > batch.round_number:
                        return
                elif round_number == batch.round_number and isinstance(step[1], Read):
                    rows = step[1].decoded.rows.get(batch.event.name)
                    if rows is not None:
                        yield rows

    async def _segment(self, shipment: Shipment, segment: Segment) -> AsyncGenerator[Step]:
        home = self._homes[shipment.instance]
        file = home.files[segment.file]
        origin = Origin(project=file.place.project, policy=shipment.limits.project, clock_ms=shipment.clock_ms)
        path = home.path(segment.file)
        encoding = file.place.encoding
        max_line = shipment.limits.max_line
        reader = SegmentReader(path, segment.start, encoding, self._decoder, origin, max_line)
        left = segment.end - segment.start
        # Nothing of it may be held as one chunk if even a line of that length is too long.
        chunk_bytes = min(CHUNK_BYTES, max_line)
        try:
            descriptor = await self._open(home, segment.file)
            async with aiofiles.open(descriptor, "rb", buffering=0) as content:
                await content.seek(segment.start)
                while left > 0:
                    chunk = await _read_full(content, min(chunk_bytes, left))
                    if not chunk:
                        yield Unreadable(failure=f"shorter by {left} bytes than when it was claimed")
                        break
                    left -= len(chunk)
                    async for step in self._in_thread(reader.feed(chunk), encoding):
                        yield step
                async for step in self._in_thread(reader.finish(), encoding):
                    yield step
        except CORRUPT as error:
            yield Unreadable(failure=f"corrupt archive: {error}")
        except FileNotFoundError:
            yield Unreadable(failure="gone")
        except OSError as error:
            yield Unreadable(failure=error.strerror or str(error))

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
            for step in await loop.run_in_executor(self._executor, list, steps):
                yield step
            return
        # One step at a time: a small packed chunk may hold gigabytes.
        while (packed := await loop.run_in_executor(self._executor, next, steps, None)) is not None:
            yield packed


def _input(step: Step) -> tuple[int, Decoded | None]:
    """Return how many bytes of content a step stands for, and the rows in them."""
    match step:
        case Read(size=size, decoded=decoded):
            return size, decoded
        case LongLine(part=part):
            return len(part.data), None
    return 0, None


async def _read_full(content: AsyncFileIO, size: int) -> bytes:
    """Read `size` bytes, fewer only at the end of the file: which rows are in which batch must not hang on a read."""
    chunk = await content.read(size)
    while len(chunk) < size and (more := await content.read(size - len(chunk))):
        chunk += more
    return bytes(chunk)


async def decode(
    shipments: Receiver[Shipment], batches: Sender[Batch], news: Sender[News], reader: Reader, homes: Mapping[str, Home]
) -> None:
    """Decode shipments until there are no more; one of a pool."""
    async with batches, news:
        async for shipment in shipments:
            await _Decoding(shipment, batches, reader, homes[shipment.instance]).run(news)


class _Decoding:
    """One shipment being decoded for the first time in this process."""

    def __init__(self, shipment: Shipment, batches: Sender[Batch], reader: Reader, home: Home) -> None:
        self._shipment = shipment
        self._batches = batches
        self._reader = reader
        self._home = home
        self._round = _Round()
        self._count = 0
        self._stats = {segment.file: FileStats() for segment in shipment.segments}
        self._rejects = RejectFile(home.spool, shipment.id, shipment.clock_ms)

    async def run(self, news: Sender[News]) -> None:
        """Send the batches, write the rejects, and tell settle how many batches and what of each file there was."""
        try:
            async with aclosing(self._reader.steps(self._shipment)) as steps:
                async for step in steps:
                    if isinstance(step, RoundEnd):
                        await self._end_round()
                    else:
                        await self._take(*step)
            await self._end_round()
            await asyncio.to_thread(self._rejects.finish)
        finally:
            self._rejects.abort()
        await news.send(Counted(shipment=self._shipment, batches=self._count, stats=self._stats))

    async def _take(self, segment: Segment, step: Step) -> None:
        stats = self._stats[segment.file]
        name = str(self._home.files[segment.file].place)
        match step:
            case Unreadable(failure=failure):
                stats.failure = stats.failure or failure
                await asyncio.to_thread(self._rejects.drop_long)
                log.error("file_unreadable", path=name, shipment=self._shipment.id, error=failure)
            case LongLine(part=part, line=line):
                if part.last:
                    await asyncio.to_thread(self._rejects.end_long, name, line, part.offset)
                    stats.lines += 1
                    stats.rejected += 1
                else:
                    await asyncio.to_thread(self._rejects.add_long_part, part.data)
            case Read(decoded=decoded, lines_before=lines_before):
                stats.lines += decoded.lines
                stats.mismatched += decoded.mismatched
                stats.rejected += len(decoded.rejects)
                if decoded.rejects:
                    await asyncio.to_thread(self._rejects.add, name, lines_before, decoded.rejects)
                for event_name, rows in decoded.rows.items():
                    stats.rows[event_name] = stats.rows.get(event_name, 0) + rows.count
                    await self._give(event_name, rows)

    async def _give(self, event_name: str, rows: Rows) -> None:
        if event_name != self._shipment.type:
            self._round.side.setdefault(event_name, []).append(rows)
            return
        if self._round.live is None:
            self._round.live, receiver = channel(_READ_AHEAD, Rows)
            self._round.live_count = asyncio.get_running_loop().create_future()
            await self._send_batch(event_name, receiver, self._round.live_count)
        self._round.own_rows += rows.count
        if not self._round.live_dropped:
            try:
                await self._round.live.send(rows)
            except ReceiverGoneError:
                # The insert failed half-way; it will open the batch again, and needs nothing more from here.
                self._round.live_dropped = True

    async def _end_round(self) -> None:
        """Close the own type's batch first: no insert waits open while a slot for another one is awaited."""
        if self._round.live is not None:
            self._round.live.close()
        if self._round.live_count is not None:
            self._round.live_count.set_result(self._round.own_rows)
        for event_name, pieces in self._round.side.items():
            sender, receiver = channel(len(pieces), Rows)
            for rows in pieces:
                await sender.send(rows)
            sender.close()
            count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            count.set_result(sum(rows.count for rows in pieces))
            await self._send_batch(event_name, receiver, count)
        self._round = _Round(number=self._round.number + 1)

    async def _send_batch(self, event_name: str, live: Receiver[Rows], count: "asyncio.Future[int]") -> None:
        event = self._reader.event(event_name)
        self._count += 1
        await self._batches.send(
            Batch(
                id=self._shipment.batch_id(event.table.name, self._round.number),
                shipment=self._shipment,
                event=event,
                round_number=self._round.number,
                live=live,
                reopen=self._reader.reopen,
                count=count,
            )
        )
