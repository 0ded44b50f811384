"""Decode: reads a shipment's segments, validates their lines, and groups the rows into batches by table.

Promises: rows of the shipment's own table stream to their insert while they are being read; rows of other tables wait
in memory, bounded, until that insert is fed; which batch a row is in depends on nothing but the journalled shipment
and its files, so that a batch can be opened again. A bad line harms no other line.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import structlog
from msgspec import Struct, field, structs
from msgspec.structs import replace

from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import LeftError
from spoolhouse.failpoints import reach
from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.recent_activity import RecentActivity
from spoolhouse.pipeline.channel import Receiver, ReceiverGoneError, Sender, channel
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.messages import Batch, Counted, News, Round
from spoolhouse.pipeline.postponed import BrokenOffError, Decodable, PostponedShipments, WithdrawnError
from spoolhouse.spool import layout
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.layout import Place
from spoolhouse.spool.lineage import Lineage
from spoolhouse.spool.reject_file import RejectFile, Source
from spoolhouse.spool.segment_reader import LongLine, Read
from spoolhouse.spool.shipment import Extent, FileStats, Segment, Shipment
from spoolhouse.spool.shipment_pieces import Step, Unreadable
from spoolhouse.spool.shipment_reader import RoundEnd, ShipmentReader

log = structlog.get_logger(__name__)
T = TypeVar("T")

_READ_AHEAD = 3
"""Pieces of a batch that wait for its insert: enough that reading and sending overlap, little enough to hold."""
_SMALL_BYTES, _MOST_SMALL = 128 << 10, 64
"""Rows of so many bytes, or of so many pieces, are passed on as one piece."""


class _Round(Struct, kw_only=True):
    """The batches of one round while they are handed over."""

    number: int = 0
    live: Sender[Rows] | None = None
    live_dropped: bool = False
    live_count: "asyncio.Future[int] | None" = None
    own_rows: int = 0
    small: list[Rows] = field(default_factory=list)
    """Rows for the shipment's own table that wait for others: those of a small file are not worth a turn."""
    small_bytes: int = 0
    side: dict[str, list[Rows]] = field(default_factory=dict)
    common: Round
    batches: list[Batch] = field(default_factory=list)


async def decode(
    shipments: Receiver[Shipment],
    batches: Sender[Batch],
    news: Sender[News],
    *,
    reader: ShipmentReader,
    instances: Mapping[str, Instance],
    disk: DiskRetry,
    recent: RecentActivity,
    postponed: PostponedShipments,
    is_left: Callable[[str], bool],
) -> None:
    """Decode shipments until there are no more; one of a pool. Those that a stop leaves (`is_left`) are broken off."""
    async with batches, news:
        while (item := await postponed.next(shipments)) is not None:
            instance = instances[item.shipment.instance]
            decoding = _Decoding(
                item, batches, reader=reader, instance=instance, disk=disk, recent=recent, is_left=is_left
            )
            try:
                await decoding.run(news)
            except BrokenOffError as error:
                await postponed.postpone(item, error, reader.tables(item.shipment))
            except LeftError as error:
                log.info("shipment_left", shipment=item.shipment.id, reason=error.message)
            else:
                postponed.done(item)


class _Lineages:
    """Which rows of the batches came from where, as it becomes known."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], Lineage] = {}
        self._counts: Counter[str] = Counter()

    def add(self, batch_id: str, table: str, file: int, piece: Piece, count: int) -> None:
        """Note the next rows of a batch; those of one file follow one another."""
        known = self._found.get((batch_id, file))
        start, end, first = piece.offset, piece.offset + len(piece.data), self._counts[batch_id]
        self._found[batch_id, file] = (
            Lineage(batch=batch_id, table=table, file=file, start=start, end=end, first=first, rows=count)
            if known is None
            else replace(known, end=end, rows=known.rows + count)
        )
        self._counts[batch_id] = first + count

    def all(self) -> tuple[Lineage, ...]:
        """Return all of it."""
        return tuple(self._found.values())


class _Decoding:
    """One shipment being decoded for the first time in this process."""

    def __init__(  # what `decode` is given, and a shipment
        self,
        item: Decodable,
        batches: Sender[Batch],
        *,
        reader: ShipmentReader,
        instance: Instance,
        disk: DiskRetry,
        recent: RecentActivity,
        is_left: Callable[[str], bool],
    ) -> None:
        self._is_left = is_left
        self._item = item
        self._shipment = shipment = item.shipment
        self._batches = batches
        self._reader = reader
        self._own_table = reader.own_table(shipment)
        self._instance = instance
        self._disk = disk
        self._recent = recent
        self._round = self._new_round(0)
        self._count = 0
        self._lineage = _Lineages()
        self._stats = {segment.file: FileStats() for segment in shipment.segments}
        self._read: dict[int, tuple[int, int]] = {}
        """The bytes of each file whose lines have landed or were rejected, up to the first that could not be read."""
        self._long_bytes = 0
        self._last: Place | None = None
        """The file that was read last."""
        self._rejects = RejectFile(instance.spool, shipment.id, shipment.clock_ms)

    def _new_round(self, number: int) -> _Round:
        common = Round(
            tables=self._reader.tables(self._shipment),
            locate_rows=partial(self._reader.locate_rows, self._shipment, number),
            batches=asyncio.get_running_loop().create_future(),
        )
        return _Round(number=number, common=common)

    async def run(self, news: Sender[News]) -> None:
        """Send the batches, write the rejects, and report to settle how many batches there are, with counts by file."""
        try:
            async with aclosing(self._reader.steps(self._shipment, patient=False)) as steps:
                async for some in steps:
                    for step in some:
                        heartbeat.beat()  # small files together may have as many writes of rejected lines
                        if isinstance(step, RoundEnd):
                            await self._keep_end(step)
                            await self._end_round()
                        else:
                            await self._take(*step)
                        reach("decode.step")
                    if self._is_left(self._shipment.id):
                        raise LeftError("a batch of it is left to the next start")
            await self._end_round()
            reach("decode.read")
            await self._keep("" if self._last is None else str(self._last), self._rejects.finish)
            reach("decode.rejected")
        except (BrokenOffError, LeftError):
            self._withdraw()
            raise
        finally:
            self._rejects.abort()
        lineage = (*self._lineage.all(), *self._readings())
        await news.send(Counted(shipment=self._shipment, batches=self._count, stats=self._stats, lineage=lineage))

    def _withdraw(self) -> None:
        """Take back the round that is not read to its end; those before it are on their way, and stay there."""
        self._item.sent_rounds = max(self._item.sent_rounds, self._round.number)
        if self._round.live is not None and self._round.live_count is not None:
            # Insert may still hold its batches.
            self._item.shipment = structs.replace(self._shipment, replay=True)
            error = WithdrawnError(f"shipment {self._shipment.id} cannot be read on, and is put aside")
            for known in (self._round.live_count, self._round.common.batches):
                known.set_exception(error)
                known.exception()  # whoever asks for it is told; if nobody does, that is no fault
            self._round.live.fail(error)

    def _readings(self) -> Iterator[Lineage]:
        """Yield up to where files without a row, and damaged files, were read: the rows do not tell it."""
        with_rows = {lineage.file for lineage in self._lineage.all()}
        for number, stats in self._stats.items():
            if stats.failure or number not in with_rows:
                batch, (start, end) = f"{self._shipment.id}:", self._read.get(number, (0, 0))
                yield Lineage(batch=batch, table="", file=number, start=start, end=end, first=0, rows=0)

    def _read_to(self, segment: Segment, end: int) -> None:
        """Note that a segment was read to byte `end` of its file's content."""
        if not self._stats[segment.file].failure:
            self._read[segment.file] = self._read[segment.file][0], end

    async def _keep(self, file: str, work: Callable[[], T]) -> T:
        """Write rejected lines of `file`, however long that takes: none is to vanish because a disk is full."""

        def write() -> T:
            self._rejects.least = self._disk.least
            return work()

        return await self._disk.persist(self._instance.spool / layout.REJECTED, write, f"rejected lines of {file}")

    async def _take(self, segment: Segment, step: Step) -> None:
        stats = self._stats[segment.file]
        place = self._instance.files[segment.file].place
        self._last = place
        if segment.file not in self._read:
            first = segment.start if segment.start and place.encoding is layout.Encoding.PLAIN else 0
            self._read[segment.file] = first, first
        if isinstance(step, Read):
            await self._take_read(segment, place, step)
            return
        name, source = str(place), self._source(segment, place)
        match step:
            case Unreadable(failure=failure):
                self._long_bytes = 0
                if not step.known:
                    at = (self._shipment.segments.index(segment), step.end)
                    self._item.expect_end(self._instance.path(segment.file), step, at, self._round.number, self._disk)
                # First: a later read of the shipment ends here, does not find such a line, and would leave its parts.
                await self._keep(name, self._rejects.drop_long)
                if not step.known:
                    await self._shorten(segment, step)
                if self._item.failures:
                    self._recent.retries[name] = self._item.failures
                stats.failure = stats.failure or failure
                log.error("file_unreadable", path=name, shipment=self._shipment.id, error=failure)
            case LongLine(part=part, line=line):
                self._long_bytes += len(part.data)
                if part.last:
                    self._read_to(segment, part.offset + self._long_bytes + 1)
                    self._long_bytes = 0
                    await self._keep(name, partial(self._rejects.end_long, source, line, part.offset))
                    stats.lines += 1
                    stats.rejected += 1
                    stats.left_out += 1
                    self._recent.too_long(name, line)
                else:
                    most = self._shipment.limits.max_line
                    await self._keep(name, partial(self._rejects.add_long_part, source, part.data, most))

    async def _take_read(self, segment: Segment, place: Place, read: Read) -> None:
        """Take a decoded piece. Small files make many: the name and the source are made for rejects alone."""
        stats, decoded = self._stats[segment.file], read.decoded
        self._read_to(segment, read.piece.offset + len(read.piece.data))
        stats.count(decoded)
        stats.rejected += len(decoded.rejects)
        self._round.common.may_share_lines |= decoded.may_share_lines
        if decoded.rejects:
            name, source = str(place), self._source(segment, place)
            self._recent.rejected(name, read.lines_before, decoded.rejects)
            add = partial(self._rejects.add, source, read.lines_before, decoded.rejects)
            stats.left_out += await self._keep(name, add)
        for table, rows in decoded.rows.items():
            stats.rows[table] = stats.rows.get(table, 0) + rows.count
            batch_id = self._shipment.batch_id(table, self._round.number)
            self._lineage.add(batch_id, table, segment.file, read.piece, rows.count)
            await self._give(table, rows)

    @staticmethod
    def _source(segment: Segment, place: Place) -> Source:
        return Source(place=place, start=segment.start, stored=segment.end - segment.start)

    async def _shorten(self, segment: Segment, end: Unreadable) -> None:
        """Let the segment end here for good, before anything of this round can be acknowledged.

        The insert of the round still waits for rows, so it has no more rows than a later read of the batch gives.
        """
        extent = Extent(end=end.end, failure=end.failure)
        await self._disk.persist(
            self._instance.folder, partial(self._instance.readings.shorten, self._shipment.id, segment, extent)
        )
        reach("decode.shortened")

    async def _keep_end(self, end: RoundEnd) -> None:
        """Let the round end here for good, before its batches can be acknowledged.

        Else, were a file to end earlier the next time, rows of the files behind it would be taken for rows of this
        round, which has landed. Behind the only file of a shipment there are none.
        """
        if not end.known and len(self._shipment.segments) > 1:
            end_round = partial(self._instance.readings.end_round, self._shipment.id, end.at)
            await self._disk.persist(self._instance.folder, end_round)
            reach("decode.round_ended")

    async def _give(self, table: str, rows: Rows) -> None:
        if table != self._own_table:
            self._round.side.setdefault(table, []).append(rows)
            return
        if self._round.live is None:
            self._round.live, receiver = channel(_READ_AHEAD, Rows)
            self._round.live_count = asyncio.get_running_loop().create_future()
            await self._send(self._batch(table, receiver, self._round.live_count))
        self._round.own_rows += rows.count
        self._round.small.append(rows)
        self._round.small_bytes += len(rows.data)
        if len(self._round.small) == _MOST_SMALL or self._round.small_bytes >= _SMALL_BYTES:
            await self._give_small()

    async def _give_small(self) -> None:
        """Pass on the rows that wait for others of their table, as one piece."""
        small, self._round.small, self._round.small_bytes = self._round.small, [], 0
        if small and self._round.live is not None and not self._round.live_dropped:
            try:
                await self._round.live.send(small[0] if len(small) == 1 else _joined(small))
            except ReceiverGoneError:
                # The insert failed half-way; it will open the batch again, and needs nothing more from here.
                self._round.live_dropped = True

    async def _end_round(self) -> None:
        """Close the own table's batch first: no insert waits open while a slot for another one is awaited."""
        await self._give_small()
        if self._round.live is not None:
            self._round.live.close()
        if self._round.live_count is not None:
            self._round.live_count.set_result(self._round.own_rows)
        sides = []
        for table, pieces in self._round.side.items():
            sender, receiver = channel(len(pieces), Rows)
            for rows in pieces:
                await sender.send(rows)
            sender.close()
            count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            count.set_result(sum(rows.count for rows in pieces))
            sides.append(self._batch(table, receiver, count))
        # Before they are handed over: the inserts may all wait for a round to end.
        self._round.common.batches.set_result(tuple(self._round.batches))
        for batch in sides:
            await self._send(batch)
        self._round = self._new_round(self._round.number + 1)

    @property
    def _is_sent(self) -> bool:
        """Whether this round was handed over before the shipment was put aside."""
        return self._round.number < self._item.sent_rounds

    def _batch(self, table: str, live: Receiver[Rows], count: "asyncio.Future[int]") -> Batch:
        batch = Batch(
            id=self._shipment.batch_id(table, self._round.number),
            shipment=self._shipment,
            table=self._reader.table(self._shipment, table),
            round_number=self._round.number,
            round=self._round.common,
            live=live,
            locate=partial(self._reader.locate, self._shipment, table, self._round.number),
            reopen=partial(self._reader.rows, self._shipment, table, self._round.number, count),
            count=count,
        )
        self._round.batches.append(batch)
        return batch

    async def _send(self, batch: Batch) -> None:
        self._count += 1
        if self._is_sent:
            batch.live.close()
            return
        reach("decode.batch")
        await self._batches.send(batch)


def _joined(pieces: Sequence[Rows]) -> Rows:
    return Rows(data=b"".join(rows.data for rows in pieces), count=sum(rows.count for rows in pieces))
