"""Packing: which spans of claimed files travel as one shipment, and under which id."""

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace

from spoolhouse import file_names
from spoolhouse.file_names import LandedAs, Spilled
from spoolhouse.pipeline.options import Options
from spoolhouse.spool.claims import Claim
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.shipment import CHUNK_BYTES, Pack, Packer, Segment, Shipment, Span

_UNLIMITED = (1 << 63) - 1


def spilled_batch(claim: Claim, spans: Sequence[Span], most: int) -> Spilled | None:
    """Return the batch of an exporter that a claimed file may be; None for other files.

    A file of more than `most` bytes is none: a batch is one round, whose rows for other tables wait in memory.
    """
    is_whole = [(span.start, span.end) for span in spans] == [(0, claim.size)]
    return file_names.spilled(claim.place.name) if is_whole and claim.size <= most else None


def landed_as(instance: Instance, number: int, batch: Spilled, size: int) -> LandedAs:
    """Return under which id a claimed file lands if it is this batch. Blocks on the disk. Raises OSError."""
    place = instance.files[number].place
    with os.fdopen(instance.open(number), "rb") as file:
        pieces = (file.read(min(CHUNK_BYTES, size - at)) for at in range(0, size, CHUNK_BYTES))
        return batch.landed_as(place.type, place.project, pieces)


def packed(
    packer: Packer, type_name: str, spans: Iterable[Span], *, alone: bool = False, spilled: LandedAs | None = None
) -> Iterator[Pack]:
    """Add a file's spans to the packer and yield the packs that are full; those of a file that was cut are full.

    All shipments of one file are journalled in one transaction: no file is planned in part while another part of it
    waits for company. A `spilled` batch travels alone.
    """
    spans = list(spans)
    now = time.monotonic()
    if len(spans) == 1 and not alone and spilled is None:
        yield from packer.add(type_name, spans[0], now)
        return
    for span in spans:
        yield Pack(type=type_name, spilled=spilled, opened=now, spans=[span], weight=span.weight, files={span.file})


def shipment_of(pack: Pack, instance: str, options: Options, now_ms: int) -> Shipment:
    """Return a new shipment with the spans of a pack.

    That of a spilled batch has the id, the clock and the one round under which its exporter may have landed it.
    """
    limits, batch = options.shipments.limits, pack.spilled
    if batch is not None:
        limits = replace(limits, max_rows=_UNLIMITED, max_insert_bytes=_UNLIMITED, side_bytes=_UNLIMITED)
    return Shipment(
        id=str(uuid.uuid4()) if batch is None else batch.shipment,
        instance=instance,
        type=pack.type,
        segments=tuple(Segment(file=span.file, start=span.start, end=span.end) for span in pack.spans),
        clock_ms=now_ms if batch is None else batch.clock_ms,
        fingerprint=options.fingerprint,
        limits=limits,
        replay=batch is not None,
    )
