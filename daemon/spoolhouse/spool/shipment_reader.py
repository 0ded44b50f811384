"""Read a shipment's files into decoded pieces and rounds, the same way each time."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing

from msgspec import Struct, field
from msgspec.structs import replace

from spoolhouse.decode.line_decoder import Decoded, Line
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, TransientError
from spoolhouse.events.declaration import EventType, Table
from spoolhouse.monitoring import heartbeat
from spoolhouse.spool.declaration_versions import DeclarationVersions
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.read_extents import Position
from spoolhouse.spool.row_ranges import RowRange
from spoolhouse.spool.segment_reader import LongLine, Read
from spoolhouse.spool.shipment import Limits, Segment, Shipment
from spoolhouse.spool.shipment_pieces import PatientDisk, Segments, Step, Taken, Unreadable

_SILENCE_BYTES = 4 << 20
"""The most input without a row for the shipment's own table in a round: the server breaks off an insert that waits too
long for rows."""


class RoundEnd(Struct, frozen=True):
    """The batches of a round are complete; later steps belong to the next one."""

    at: Position
    """The end of the round."""
    known: bool = False
    """The journal has it."""


class _Position:
    """The progress of one reading of a shipment."""

    def __init__(self, shipment: Shipment) -> None:
        self._numbers = {segment: number for number, segment in enumerate(shipment.segments)}
        self._taken = Taken()
        self.now: Position = (0, 0)

    def add(self, segment: Segment, step: Read | LongLine) -> None:
        """Count a step."""
        number = self._numbers[segment]
        if number != self.now[0]:
            self._taken = Taken()
        self._taken.add(step)
        self.now = (number, self._taken.seen)


class _Fill(Struct):
    """The fill of the batches of one round."""

    own_rows: int = 0
    own_bytes: int = 0
    side_bytes: int = 0
    silent_bytes: int = 0
    """Input since the last row for the shipment's own table."""
    side_rows: dict[str, int] = field(default_factory=dict)

    def has_room(self, step: Read | LongLine, own: str, limits: Limits) -> bool:
        """Return whether a step's rows still fit into this round's batches; an empty round takes anything."""
        if self.own_rows == 0 and self.side_bytes == 0:
            return True
        own_bytes, side_bytes = self.own_bytes, self.side_bytes
        most_rows = 0
        for table, rows in step.decoded.rows.items() if isinstance(step, Read) else ():
            if table == own:
                own_bytes += len(rows.data)
                most_rows = max(most_rows, self.own_rows + rows.count)
            else:
                side_bytes += len(rows.data)
                most_rows = max(most_rows, self.side_rows.get(table, 0) + rows.count)
        return most_rows <= limits.max_rows and own_bytes <= limits.max_insert_bytes and side_bytes <= limits.side_bytes

    def is_silent(self, size: int, decoded: Decoded | None, own: str) -> bool:
        """Count input of `size` bytes; return whether the shipment's own batch has been without rows for too long."""
        self.silent_bytes += size
        if decoded is not None and own in decoded.rows:
            self.silent_bytes = 0
        return self.own_rows > 0 and self.silent_bytes > _SILENCE_BYTES

    def count(self, decoded: Decoded, own: str) -> None:
        """Count rows."""
        for table, rows in decoded.rows.items():
            if table == own:
                self.own_rows += rows.count
                self.own_bytes += len(rows.data)
            else:
                self.side_rows[table] = self.side_rows.get(table, 0) + rows.count
                self.side_bytes += len(rows.data)


class ShipmentReader:
    """Reads shipments, the same way each time, even when the declarations change meanwhile."""

    def __init__(  # the input, its reading, and the tools
        self,
        instances: Mapping[str, Instance],
        events: Mapping[str, EventType],
        fingerprint: str,
        executor: Executor,
        disk: PatientDisk,
    ) -> None:
        """Read files of `homes` through `disk`; decode in `executor`.

        `fingerprint` is that of shipments claimed under `events`.
        """
        self._instances = instances
        self.versions = DeclarationVersions(events, fingerprint)
        self._segments = Segments(instances, self.versions, executor, disk)

    def own_table(self, shipment: Shipment) -> str:
        """Return the table for the events of the shipment's type; empty if the type no longer exists."""
        event = self.versions.of(shipment).events.get(shipment.type)
        return "" if event is None else event.table.name

    def table(self, shipment: Shipment, name: str) -> Table:
        """Return the declaration of a table that the shipment has rows for."""
        return self.versions.of(shipment).tables[name]

    def tables(self, shipment: Shipment) -> Collection[Table]:
        """Return the declarations of all tables that the shipment may have rows for."""
        return self.versions.of(shipment).tables.values()

    async def steps(
        self, shipment: Shipment, *, numbered: bool = False, patient: bool = True
    ) -> AsyncGenerator[Sequence[tuple[Segment, Step] | RoundEnd]]:
        """Yield the content of the shipment's segments, in order, and the ends of rounds; small files together.

        `numbered`: each piece has the number of lines of its file before it. `patient`: a read with a passing
        error is tried again; else its segment ends there.
        """
        own, current = self.own_table(shipment), _Fill()
        at, is_broken = _Position(shipment), False
        known = deque(self._instances[shipment.instance].readings.round_ends(shipment.id))
        async with aclosing(self._segments.pieces(shipment, numbered=numbered, patient=patient)) as pieces:
            async for some in pieces:
                found: list[tuple[Segment, Step] | RoundEnd] = []
                for segment, step in some:
                    if isinstance(step, Unreadable):
                        is_broken = True
                        found.append((segment, step))
                        continue
                    before = at.now
                    at.add(segment, step)
                    if known and at.now > known[0]:
                        while known and at.now > known[0]:
                            found.append(RoundEnd(at=known.popleft(), known=True))
                        current = _Fill()
                    elif not (known or current.has_room(step, own, shipment.limits)):
                        found.append(RoundEnd(at=before))
                        current = _Fill()
                    if isinstance(step, Read):
                        current.count(step.decoded, own)
                    found.append((segment, step))
                    # Behind a file that ends early, a round ends only where it ends for a reader of all of it.
                    if not known and not is_broken and current.is_silent(*_input(step), own):
                        found.append(RoundEnd(at=at.now))
                        current = _Fill()
                yield found

    async def rows(
        self, shipment: Shipment, table: str, round_number: int, expected: "asyncio.Future[int]"
    ) -> AsyncGenerator[Rows]:
        """Yield the rows for one table in one round once more, from the files.

        Raises `OperatorError`, after the last row, if the number of rows differs from the first time: a file was
        removed or changed, and the rest must not pass for the whole.
        """
        counted = 0
        async with aclosing(self._reads(shipment, round_number, is_decoded=expected.done)) as reads:
            async for _, read in reads:
                rows = read.decoded.rows.get(table)
                if rows is not None:
                    counted += rows.count
                    yield rows
        with heartbeat.idle():
            expected_rows = await expected
        if counted != expected_rows:
            raise OperatorError(
                f"shipment {shipment.id} holds {counted} rows for {table} where it held {expected_rows}",
                hint="a claimed file was taken or changed: put it back",
            )

    async def locate(
        self, shipment: Shipment, table: str, round_number: int, numbers: Collection[int]
    ) -> AsyncGenerator[tuple[Segment, int, Line]]:
        """Yield the line of each of some rows of a batch, given the rows' numbers in it (from 0), in order.

        With each come its segment, and the number of lines of the file before its piece. `Line.row` is the number in
        the batch.
        """
        before = 0
        async with aclosing(self._reads(shipment, round_number, numbered=True)) as reads:
            async for segment, read in reads:
                rows = read.decoded.rows.get(table)
                count = 0 if rows is None else rows.count
                wanted = [number - before for number in numbers if before <= number < before + count]
                if wanted:
                    for line in await asyncio.to_thread(self._lines_of, shipment, segment, read, table, wanted):
                        yield segment, read.lines_before, replace(line, row=before + line.row)
                before += count

    def _lines_of(
        self, shipment: Shipment, segment: Segment, read: Read, table: str, numbers: Collection[int]
    ) -> list[Line]:
        origin, decoder = self._segments.origin(shipment, segment), self.versions.of(shipment).decoder
        return list(decoder.lines_of(read.piece, origin, table, numbers))

    async def locate_rows(
        self, shipment: Shipment, round_number: int, lines: Collection[tuple[int, int]]
    ) -> AsyncGenerator[tuple[tuple[int, int], str, RowRange]]:
        """Yield the rows of some lines in the batches of a round, by line (its file, and its first byte) and table."""
        before: Counter[str] = Counter()
        async with aclosing(self._reads(shipment, round_number)) as reads:
            async for segment, read in reads:
                start, end = read.piece.offset, read.piece.offset + len(read.piece.data)
                if any(file == segment.file and start <= offset < end for file, offset in lines):
                    first = before.copy()
                    for offset, counts in await asyncio.to_thread(self._counts_of, shipment, segment, read):
                        for table, count in counts.items():
                            if (segment.file, offset) in lines:
                                rows = RowRange(first=first[table], end=first[table] + count)
                                yield (segment.file, offset), table, rows
                            first[table] += count
                before.update({table: rows.count for table, rows in read.decoded.rows.items()})

    def _counts_of(self, shipment: Shipment, segment: Segment, read: Read) -> list[tuple[int, Mapping[str, int]]]:
        origin, decoder = self._segments.origin(shipment, segment), self.versions.of(shipment).decoder
        return [(offset, counts) for offset, _, counts in decoder.counts_by_line(read.piece, origin)]

    async def _reads(
        self,
        shipment: Shipment,
        round_number: int,
        *,
        numbered: bool = False,
        is_decoded: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[tuple[Segment, Read]]:
        """Yield the pieces of a round once more. Files may not be readable behind it.

        `is_decoded` tells whether the first reader of the round has reached its end.
        """
        current = 0
        async with aclosing(self.steps(shipment, numbered=numbered)) as steps:
            async for some in steps:
                for step in some:
                    if isinstance(step, RoundEnd):
                        current += 1
                        if current > round_number:
                            return
                    elif isinstance(step[1], Unreadable):
                        self._expect_known(shipment, *step, is_decoded=is_decoded())
                    elif current == round_number and isinstance(step[1], Read):
                        yield step[0], step[1]

    def _expect_known(self, shipment: Shipment, segment: Segment, end: Step, *, is_decoded: bool) -> None:
        """Raise `StoreError` for a segment that ends now where it did not before: half a batch must not pass for all.

        `is_decoded`: the first reader of the round has reached its end.
        """
        if not isinstance(end, Unreadable) or end.known:
            return
        path = self._instances[shipment.instance].path(segment.file)
        if not is_decoded:
            raise TransientError(f"{path} cannot be read on: {end.failure}")
        raise OperatorError(
            f"{path} could be read before, and now only to byte {end.end}: {end.failure}",
            hint="put it back as it was, or see what the kernel says of its disk; a restart lands what can be read",
        )


def _input(step: Read | LongLine) -> tuple[int, Decoded | None]:
    """Return the bytes of content in a step, and its rows."""
    return (len(step.piece.data), step.decoded) if isinstance(step, Read) else (len(step.part.data), None)
