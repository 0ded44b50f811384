"""Read the segments of a shipment into decoded pieces, in order, each up to its readable end.

A read that fails for a while is retried. One that fails for good ends its segment early: the end is journalled before
any of its round is acknowledged, and all later readings end there.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import aiofiles
from aiofiles.threadpool.binary import AsyncFileIO
from msgspec import Struct

from spoolhouse.decode.line_decoder import Origin
from spoolhouse.decode.line_splitter import BOM, Piece
from spoolhouse.failpoints import reach
from spoolhouse.spool.declaration_versions import DeclarationVersions
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.layout import Encoding
from spoolhouse.spool.replay_origins import first_places
from spoolhouse.spool.segment_reader import CORRUPT, MOST_LINES, LongLine, Read, SegmentReader
from spoolhouse.spool.shipment import CHUNK_BYTES, Extent, Segment, Shipment

T = TypeVar("T")


class Unreadable(Struct, frozen=True, kw_only=True):
    """A segment ends early; the pieces before it are valid.

    `known`: the journal has it. Otherwise the first reader of the shipment journals it.
    """

    failure: str
    end: int
    """The end of the last whole line."""
    known: bool = False
    errno: int = 0
    """The system's error number; 0 if the error is not the system's."""


Step = Read | LongLine | Unreadable


_Small = list[tuple[Segment, list[Step] | None]]


class PatientDisk(Protocol):
    """Retries reads of files."""

    async def read(self, path: Path, work: Callable[[], Awaitable[T]], /) -> T:
        """Do `work`, which reads the file at `path`, until it succeeds; raise its OSError if that will not pass."""


class _Read(Protocol):
    """How a file is read."""

    async def __call__(self, path: Path, work: Callable[[], Awaitable[T]], /) -> T:
        """Do `work`, which reads the file at `path`. Raises OSError."""


async def _read_once(_path: Path, work: Callable[[], Awaitable[T]], /) -> T:
    return await work()


class Taken(Struct, kw_only=True):
    """The end of the last whole line of a segment's content that was passed on."""

    end: int = 0
    seen: int = 0
    """The end of all that was passed on, parts of a long line included."""
    _long_bytes: int = 0

    def add(self, step: Read | LongLine) -> None:
        """Count a step."""
        if isinstance(step, Read):
            self.end = self.seen = step.piece.offset + len(step.piece.data)
            return
        self._long_bytes += len(step.part.data)
        self.seen = step.part.offset + self._long_bytes
        if step.part.last:
            self.end = self.seen = self.seen + 1
            self._long_bytes = 0


class Segments:
    """Reads the segments of shipments, the same way each time."""

    def __init__(
        self, instances: Mapping[str, Instance], versions: DeclarationVersions, executor: Executor, disk: PatientDisk
    ) -> None:
        """Read files of `homes` through `disk`; decode in `executor`, by the declarations of `editions`."""
        self._instances = instances
        self._editions = versions
        self._executor = executor
        self._disk = disk

    async def pieces(
        self, shipment: Shipment, *, numbered: bool, patient: bool
    ) -> AsyncGenerator[Sequence[tuple[Segment, Step]]]:
        """Yield the content of a shipment's segments, in order; that of small files together.

        `numbered`: each piece has the number of lines of its file before it. `patient`: a read with a passing
        error is tried again; else its segment ends there.
        """
        for group in _small_together(shipment, self._instances[shipment.instance]):
            if len(group) > 1:
                loop = asyncio.get_running_loop()
                read = await loop.run_in_executor(self._executor, self._read_small, shipment, group, numbered)
            else:
                read = [(group[0], None)]
            together: list[tuple[Segment, Step]] = []
            for segment, steps in read:
                if steps is not None:
                    together += [(segment, step) for step in steps]
                    continue
                if together:
                    yield together
                    together = []
                async with aclosing(self._segment(shipment, segment, numbered=numbered, patient=patient)) as pieces:
                    async for step in pieces:
                        yield ((segment, step),)
            if together:
                yield together

    def _read_small(self, shipment: Shipment, segments: list[Segment], numbered: bool) -> "_Small":  # noqa: FBT001  # an executor passes by position
        """Read segments that together are at most one chunk, in one visit to the worker thread.

        The seven visits per file otherwise take longer than the decoding of a hundred lines. None stands for a file
        that is not simply read to its end, or whose lines together might not be held.
        """
        instance = self._instances[shipment.instance]
        results: _Small = []
        lines = 0
        for segment in segments:
            steps: list[Step] | None = None
            if instance.readings.extent(shipment.id, segment) is None:
                with contextlib.suppress(OSError):
                    content = _content(instance, segment)
                    lines += content.count(b"\n")
                    if lines <= MOST_LINES and len(content) == segment.end - segment.start:
                        steps = self._whole(shipment, segment, content, numbered=numbered)
            results.append((segment, steps))
        return results

    def _whole(self, shipment: Shipment, segment: Segment, content: bytes, *, numbered: bool) -> list[Step]:
        """Return the pieces of a segment from its content. Raises OSError."""
        if segment.start == 0 and content.endswith(b"\n") and not content.startswith(BOM):
            # Nearly all small files are one piece, before which there is no line.
            piece = Piece(offset=0, data=content)
            decoded = self._editions.of(shipment).decoder.decode(piece, self.origin(shipment, segment))
            return [Read(piece=piece, decoded=decoded)]
        reader = self._segment_reader(shipment, segment, numbered=numbered)
        steps = [*reader.feed(content), *reader.finish()]
        if not any(map(reader.asks, steps)):
            return list(steps)
        descriptor = self._instances[shipment.instance].open(segment.file)
        try:
            return [reader.number(descriptor, step) for step in steps]
        finally:
            os.close(descriptor)

    def origin(self, shipment: Shipment, segment: Segment) -> Origin:
        """Return the context that the lines of a segment are judged by, besides their declarations."""
        instance, limits = self._instances[shipment.instance], shipment.limits
        place = instance.files[segment.file].place
        return Origin(
            project=place.project,
            policy=limits.project,
            clock_ms=shipment.clock_ms,
            expired=limits.expired,
            future=limits.future,
            type=place.type,
            file=str(place),
            unknown=limits.unknown,
            first_places=first_places(instance.spool, place),
        )

    def _segment_reader(self, shipment: Shipment, segment: Segment, *, numbered: bool) -> SegmentReader:
        instance = self._instances[shipment.instance]
        return SegmentReader(
            segment.start,
            instance.files[segment.file].place.encoding,
            self._editions.of(shipment).decoder,
            self.origin(shipment, segment),
            shipment.limits.max_line,
            numbered=numbered,
        )

    async def _segment(
        self, shipment: Shipment, segment: Segment, *, numbered: bool, patient: bool
    ) -> AsyncGenerator[Step]:
        """Yield the content of a segment, up to its extent if it has one, or to its readable end."""
        instance = self._instances[shipment.instance]
        extent = instance.readings.extent(shipment.id, segment)
        reader = self._segment_reader(shipment, segment, numbered=numbered)
        on_disk = _OnDisk(instance, segment, extent, reader, self._disk.read if patient else _read_once, self._executor)
        taken, failure, number = Taken(end=on_disk.first), "", 0
        try:
            async with aclosing(on_disk.steps(min(CHUNK_BYTES, shipment.limits.max_line))) as steps:
                while extent is None or taken.end < extent.end:
                    step = await anext(steps)
                    if extent is not None:
                        step = reader.cut(step, extent.end)
                    taken.add(step)
                    yield step
        except StopAsyncIteration:
            pass
        except (OSError, *CORRUPT) as error:
            failure, number = _spelled(error), getattr(error, "errno", None) or 0
        # The first reader may have reached its end meanwhile.
        extent = instance.readings.extent(shipment.id, segment)
        if extent is not None and taken.end >= extent.end:
            yield Unreadable(failure=extent.failure, end=taken.end, known=True)
        elif extent is not None or failure:
            yield Unreadable(failure=failure or "changed since its claim", end=taken.end, errno=number)


class _OnDisk(Struct, frozen=True):
    """A segment in its file."""

    instance: Instance
    segment: Segment
    extent: Extent | None
    reader: SegmentReader
    read: "_Read"
    executor: Executor

    @property
    def _plain(self) -> bool:
        return self.instance.files[self.segment.file].place.encoding is Encoding.PLAIN

    @property
    def _path(self) -> Path:
        return self.instance.path(self.segment.file)

    @property
    def first(self) -> int:
        """The byte of the content at which it begins."""
        return self.segment.start if self._plain else 0

    async def steps(self, chunk_bytes: int) -> AsyncGenerator[Read | LongLine]:
        """Yield the content, of a plain segment up to its extent. Raises the error that reading ends with.

        The content is not held as one chunk if even a line of that length is too long.
        """
        at, end = self.segment.start, self.segment.end
        if self.extent is not None and self._plain:
            end = self.extent.end
        descriptor = await self.read(self._path, partial(asyncio.to_thread, _open, self.instance, self.segment.file))
        async with aiofiles.open(descriptor, "rb", buffering=0) as content:
            await content.seek(at)
            while at < end:
                size = min(chunk_bytes, end - at)
                chunk = await self._read_full(content, at, size)
                at += len(chunk)
                async for step in self._decoded(self.reader.feed(chunk), descriptor):
                    yield step
                if len(chunk) < size:
                    raise OSError(errno.ENODATA, f"shorter by {end - at} bytes than when it was claimed")
            if self.extent is None:
                async for step in self._decoded(self.reader.finish(), descriptor):
                    yield step

    async def _read_full(self, content: AsyncFileIO, at: int, size: int) -> bytes:
        """Read `size` bytes, fewer only at the end of the file: the rows of a batch must not depend on a short read.

        A failed read leaves the position in the file unchanged.
        """

        async def read() -> bytes:
            reach("read.chunk", at + size)
            return bytes(await content.read(size - len(chunk)))

        chunk = b""
        while len(chunk) < size and (more := await self.read(self._path, read)):
            chunk += more
        return chunk

    async def _decoded(self, steps: Iterator[Read | LongLine], descriptor: int) -> AsyncGenerator[Read | LongLine]:
        loop = asyncio.get_running_loop()
        if self._plain:
            is_end = False
            while not is_end:
                found, is_end = await loop.run_in_executor(self.executor, _some, steps)
                for step in found:
                    if self.reader.asks(step):
                        number = partial(loop.run_in_executor, self.executor, self.reader.number, descriptor, step)
                        yield await self.read(self._path, number)
                    else:
                        yield step
            return
        # One step at a time: a small packed chunk may hold gigabytes.
        while (packed := await loop.run_in_executor(self.executor, next, steps, None)) is not None:
            yield packed


def _some(steps: Iterator[Read | LongLine]) -> tuple[list[Read | LongLine], bool]:
    """Return the next steps, nearly always all, and whether these are all: not too many rejected lines at once."""
    found = []
    rejected = 0
    for step in steps:
        found.append(step)
        rejected += len(step.decoded.rejects) if isinstance(step, Read) else 0
        if rejected >= MOST_LINES:
            return found, False
    return found, True


def _small_together(shipment: Shipment, instance: Instance) -> Iterator[list[Segment]]:
    """Yield the segments of a shipment in order, in groups of at most one chunk."""
    limit = min(CHUNK_BYTES, shipment.limits.max_line)
    group: list[Segment] = []
    size = 0
    for segment in shipment.segments:
        length = segment.end - segment.start
        plain = instance.files[segment.file].place.encoding is Encoding.PLAIN
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


def _open(instance: Instance, number: int) -> int:
    reach("read.open")
    return instance.open(number)


def _content(instance: Instance, segment: Segment) -> bytes:
    """Return the content of a plain segment, less only if its file ends before it. Raises OSError."""
    reach("read.small", segment.end)
    descriptor = instance.open(segment.file)
    try:
        size = segment.end - segment.start
        content = os.pread(descriptor, size, segment.start)
        while len(content) < size:
            more = os.pread(descriptor, size - len(content), segment.start + len(content))
            if not more:
                break
            content += more
        return content
    finally:
        os.close(descriptor)


def _spelled(error: Exception) -> str:
    """Return the reason why a file cannot be read on."""
    if isinstance(error, CORRUPT):
        return f"corrupt archive: {error}"
    if isinstance(error, FileNotFoundError):
        return "gone"
    return str(getattr(error, "strerror", None) or error)
