"""Give up shipments that are held because a file of theirs is gone for good, so that nothing waits for it any more.

What ClickHouse has of such a shipment stays. The journal and the ledger call the shipment complete; what is left of its
files is moved to `failed/`, with the reason. Which of their lines have landed is not known: `retry` leaves them alone.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from pathlib import Path

from msgspec import Struct, field

from spoolhouse.events.declaration import Table
from spoolhouse.recover.ports import SentBatches
from spoolhouse.spool.finalize import Finalizer
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.layout import Encoding
from spoolhouse.spool.lineage import Entry, Lineage
from spoolhouse.spool.segment_reader import CORRUPT, content
from spoolhouse.spool.shipment import CHUNK_BYTES, FileStats, Segment, Shipment

_UNKNOWN = 1 << 62
"""The end of what was read of an archive: no retry finds a line that starts there."""


class GivenUp(Struct, frozen=True, kw_only=True):
    """A shipment, why its files cannot be read, and how many of its rows are in ClickHouse, at least."""

    shipment: Shipment
    faults: Mapping[str, str]
    """By file, as it was dropped."""
    files: tuple[str, ...]
    """All files of the shipment."""
    batches: Mapping[str, int]
    """The rows of each batch of which something has landed: at least one."""
    kept: list[str] = field(default_factory=list)
    """What is left of the files, in `failed/`, relative to the spool."""

    @property
    def rows(self) -> int:
        """Return how many rows of it have landed, at least."""
        return sum(self.batches.values())

    @property
    def reason(self) -> str:
        """Return the reason in a few words."""
        faults = ", ".join(f"{file} is {fault}" for file, fault in self.faults.items())
        return f"given up: {faults}; at least {self.rows} rows of shipment {self.shipment.id} have landed"


async def give_up(
    spool: Path, instance_id: str, sent: SentBatches, tables: Collection[Table], *, dry_run: bool
) -> AsyncIterator[GivenUp]:
    """Give up the shipments of a dead instance that are held for a file that is gone, and yield them.

    One of which nothing has landed is not held: a daemon lands what can be read of it. Raises `StoreError`,
    `SpoolhouseError`, OSError.
    """
    instance = await asyncio.to_thread(Instance.adopt, spool, instance_id)
    if instance is None:
        return  # it runs
    try:
        contents = await asyncio.to_thread(instance.load)
        await asyncio.to_thread(instance.rename_back, [file.number for file in contents.files])
        for shipment in contents.planned:
            faults = await asyncio.to_thread(_faults, instance, shipment)
            found = await sent.find(shipment.id, tables) if faults else {}
            if not found:
                continue
            batches: dict[str, int] = {}
            for batch, rows in found.items():
                whole = ":".join(batch.split(":")[:2])  # not a part of it
                batches[whole] = batches.get(whole, 0) + max(1, rows)
            files = tuple(str(instance.files[number].place) for number in sorted(_numbers(shipment)))
            given_up = GivenUp(shipment=shipment, faults=faults, files=files, batches=batches)
            if not dry_run:
                given_up.kept.extend(await asyncio.to_thread(_settle, instance, given_up))
            yield given_up
    finally:
        await asyncio.to_thread(instance.close)


def _numbers(shipment: Shipment) -> set[int]:
    return {segment.file for segment in shipment.segments}


def _faults(instance: Instance, shipment: Shipment) -> dict[str, str]:
    """Return why files of a shipment cannot be read up to where it covers them. Blocks on the disk."""
    found = ((str(instance.files[one.file].place), _fault(instance, shipment, one)) for one in shipment.segments)
    return {file: fault for file, fault in found if fault}


def _fault(instance: Instance, shipment: Shipment, segment: Segment) -> str:
    """Return why a segment cannot be read up to its end: the one that is known, where it was found to end early."""
    extent = instance.readings.extent(shipment.id, segment)
    encoding = instance.files[segment.file].place.encoding
    start, end = segment.start, segment.end if extent is None else extent.end
    try:
        if extent is None or encoding is Encoding.PLAIN:
            return _missing(end - start - sum(map(len, _stored(instance, segment.file, start, end))))
        return _missing(end - _unpacked_bytes(instance.path(segment.file), encoding, end))
    except FileNotFoundError:
        return "gone"
    except OSError as error:
        return f"unreadable ({error.strerror})"


def _missing(count: int) -> str:
    return f"shorter by {count} bytes" if count > 0 else ""


def _stored(instance: Instance, file: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of a file in a range, as far as it has them."""
    if start >= end:
        return  # of a file that was gone at once there is nothing to be read
    descriptor = instance.open(file)
    try:
        while start < end and (chunk := os.pread(descriptor, min(CHUNK_BYTES, end - start), start)):
            yield chunk
            start += len(chunk)
    finally:
        os.close(descriptor)


def _unpacked_bytes(path: Path, encoding: Encoding, most: int) -> int:
    """Count the bytes of content that an archive gives, up to `most`."""
    count = 0
    with contextlib.suppress(*CORRUPT):
        for data in content(path, encoding) if most else ():
            count += len(data)
            if count >= most:
                break
    return count


def _settle(instance: Instance, given_up: GivenUp) -> list[str]:
    """Call the shipment complete, then move what is left of its files. Blocks on the disk.

    Should it end in between, the next daemon moves the files: the journal has the reason.
    """
    shipment = given_up.shipment
    stats = {number: FileStats(failure=given_up.reason) for number in _numbers(shipment)}
    instance.acknowledge(shipment, stats, tuple(_entries(instance, given_up)))
    done = []
    for number, more in stats.items():
        instance.files[number].stats.add(more)
        instance.unacknowledged[number] -= 1
        if not instance.unacknowledged[number]:
            done.append(number)
    Finalizer(instance, done, delete=False, append_watch_ms=0, now_ms=lambda: 0).go_on()
    return [str(instance.files[number].target) for number in done if instance.files[number].target is not None]


def _entries(instance: Instance, given_up: GivenUp) -> Iterator[Entry]:
    """Yield ledger entries that let nobody land a line of these files again: each batch may have any of them."""
    for batch, rows in given_up.batches.items():
        table = batch.partition(":")[2].partition(".")[0]
        for segment in given_up.shipment.segments:
            file = instance.files[segment.file]
            end = segment.end if file.place.encoding is Encoding.PLAIN else _UNKNOWN
            yield Entry(
                lineage=Lineage(
                    batch=batch, table=table, file=segment.file, start=segment.start, end=end, first=0, rows=rows
                ),
                place=str(file.place),
                inode=file.inode,
                claimed_ms=file.claimed_ms,
                parts=(),
                clock_ms=given_up.shipment.clock_ms,
            )
