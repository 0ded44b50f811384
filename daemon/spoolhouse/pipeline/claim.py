"""Claim: takes files by renaming them, packs them into shipments, journals these, and only then passes them on.

Promises: a file is claimed by one instance; nothing is sent that is not in the journal; bytes that are appended after
the claim get a shipment of their own; claiming waits while ClickHouse cannot be written to.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import structlog

from spoolhouse.clock import now_ms
from spoolhouse.decode.line_decoder import is_whole_object
from spoolhouse.errors import LeftError
from spoolhouse.failpoints import reach
from spoolhouse.file_names import LandedAs
from spoolhouse.monitoring import heartbeat, metrics
from spoolhouse.monitoring.logs import is_reported
from spoolhouse.pipeline.arrivals import InFlightFiles
from spoolhouse.pipeline.channel import Receiver, Sender
from spoolhouse.pipeline.disk_retry import DiskRetry, concerns_all, refusal, to_its_end
from spoolhouse.pipeline.messages import Complete, News
from spoolhouse.pipeline.options import Current, Options, ShipmentOptions
from spoolhouse.pipeline.packing import landed_as, packed, shipment_of, spilled_batch
from spoolhouse.spool import fs
from spoolhouse.spool.append_watch import AppendWatch, WatchedFile, WatchedGroup
from spoolhouse.spool.claims import Claim
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState
from spoolhouse.spool.layout import Encoding, Place
from spoolhouse.spool.shipment import Pack, Packer, Shipment, Span, equal_cuts

log = structlog.get_logger(__name__)

_COMPRESSED_WEIGHT = 8
"""The weight of a compressed byte when packing: JSON lines shrink to about an eighth."""
_CLAIM_AT_ONCE = 250
_TAILS_AT_ONCE = 200
_UNSEEN = -1
_TICK = 0.25
"""Seconds between two checks of packs and watched files that have become due."""


class Claimer:
    """The claim stage of one instance. `writable` is set while ClickHouse takes rows."""

    def __init__(  # the stage's whole surroundings, each used once
        self,
        *,
        instance: Instance,
        options: Current[Options],
        append_watch: AppendWatch,
        in_flight: InFlightFiles,
        out: Sender[Shipment],
        news: Sender[News],
        writable: asyncio.Event,
        gate: asyncio.Event,
        is_held: Callable[[str], bool],
        stop: asyncio.Event,
        disk: DiskRetry,
        wake: asyncio.Event,
        now_ms: Callable[[], int] = now_ms,
    ) -> None:
        """Claim for `instance`, whose journal gets every shipment before `out` does; `news` goes to settle.

        While `gate` is not set, nothing new is claimed, and claimed files are still shipped.
        `is_held` tells whether the table of an event type takes no rows. `wake` is set when the spool is to be scanned.
        """
        self._instance = instance
        self._options = options
        self.packer = Packer(options.value.shipments.packing)
        self._now_ms = now_ms
        self._append_watch = append_watch
        self._in_flight = in_flight
        self._out = out
        self._news = news
        self._writable = writable
        self._gate = gate
        self._is_held = is_held
        self._stop = stop
        self._disk = disk
        self._wake = wake
        self._refused: Counter[str] = Counter()
        """How often a file, or (empty) any file, could not be claimed."""

    async def run(self, places: Receiver[Place]) -> None:
        """Claim files until `places` ends, then pass on the packed ones. After a stop nothing is claimed.

        A file that was claimed and not journalled before a stop was never sent: the next start releases it.
        """
        arrived: list[Place] = []
        async with self._out, self._news:
            while True:
                self.packer.packing = self._options.value.shipments.packing
                try:
                    arrived = arrived or await places.receive_many(_CLAIM_AT_ONCE, self._wait())
                except StopAsyncIteration:
                    break
                await self._until_writable()
                if self._stop.is_set():
                    self._in_flight.under_way.difference_update(arrived)
                    arrived = []
                    continue
                with contextlib.suppress(LeftError):
                    if arrived and await self._is_open():
                        await self._take(arrived)
                        arrived = []
                    await self._ship(self._instance, list(self.packer.take_due(time.monotonic())))
                    await self._follow_tails()
            with contextlib.suppress(LeftError):
                await self._ship(self._instance, list(self.packer.rest()))

    def _wait(self) -> float:
        dues = [due for due in (self.packer.due(), self._append_watch.next_due()) if due is not None]
        return min(_TICK, max(0.0, min(dues) - time.monotonic())) if dues else _TICK

    async def _is_open(self) -> bool:
        """Tell whether the gate is open; where it is not, after a while."""
        await heartbeat.idle_until(self._gate, _TICK)
        return self._gate.is_set()

    async def _until_writable(self) -> None:
        while not self._writable.is_set() and not self._stop.is_set():
            await heartbeat.idle_until(self._writable, _TICK)

    async def _take(self, arrived: list[Place]) -> None:
        """Claim files, and ship the packs that they fill."""
        held_types = {name for name in {place.type for place in arrived} if self._is_held(name)}
        held = {place for place in arrived if place.type in held_types} if held_types else set()
        self._in_flight.refused.update(dict.fromkeys(held, time.monotonic()))
        wanted = [place for place in arrived if place not in held] if held else arrived
        moves = self._in_flight.moves
        results = await to_its_end(partial(self._instance.claim, wanted))
        await self._disk.persist(self._instance.folder, self._instance.sync)
        claims = []
        refusals: list[tuple[Place, OSError]] = []
        for place, result in results:
            if isinstance(result, Claim):
                claims.append((self._instance.add(result, self._now_ms()).number, result))
            elif isinstance(result, FileNotFoundError):
                log.info("file_vanished", path=str(place))
            elif isinstance(result, FileExistsError):
                self._note_clash(moves)
            else:
                refusals.append((place, result))
        self._note_refusals(refusals)
        reach("claim.taken")
        self._in_flight.under_way.difference_update(arrived)
        options = self._options.value.shipments
        spans = [_whole(number, claim, options) for number, claim in claims]
        if not all(spans):
            spans = await asyncio.to_thread(
                lambda: [
                    some or _spans(self._instance, number, 0, claim.size, options)
                    for some, (number, claim) in zip(spans, claims, strict=True)
                ]
            )
        packs: list[Pack] = []
        if empty := [self._instance.files[number] for number, claim in claims if not claim.size]:
            # Empty files are journalled, too: bytes may be appended after a restart.
            await self._disk.persist(self._instance.folder, partial(self._instance.journal.plan, empty, []))
            reach("claim.empty_journalled")
        batches = await self._spilled(claims, spans)
        for (number, claim), some in zip(claims, spans, strict=True):
            if some:
                packs.extend(packed(self.packer, claim.place.type, some, spilled=batches.get(number)))
            elif claim.size:
                self._append_watch.watch(self._instance, number)
            else:
                await self._news.send(Complete(instance=self._instance, file=number))
        await self._ship(self._instance, packs)

    async def _spilled(
        self, claims: Sequence[tuple[int, Claim]], spans: Sequence[Sequence[Span]]
    ) -> Mapping[int, LandedAs]:
        """Return the files that are batches of an exporter, by number; a copy of one that is journalled is left out."""
        most = self._options.value.shipments.packing.max_bytes
        found: dict[str, tuple[int, LandedAs]] = {}
        for (number, claim), some in zip(claims, spans, strict=True):
            if (file := spilled_batch(claim, some, most)) is not None:
                read = partial(asyncio.to_thread, landed_as, self._instance, number, file, claim.size)
                with contextlib.suppress(OSError):  # one that cannot be read is reported as every file is
                    batch = await self._disk.read(self._instance.path(number), read)
                    found[batch.shipment] = number, batch
        if not found:
            return {}
        journal = self._instance.journal
        known = await self._disk.persist(self._instance.folder, partial(journal.known, found))
        return {number: batch for name, (number, batch) in found.items() if name not in known}

    def _note_clash(self, moves: int) -> None:
        """Have a file scanned again once a claimed file has moved, which may be the one that has its name.

        `moves` is of before the claim: the move may be over already.
        """
        self._in_flight.has_clash = True
        if self._in_flight.moves != moves:
            self._wake.set()

    def _note_refusals(self, refusals: Iterable[tuple[Place, OSError]]) -> None:
        """Try files that could not be claimed again later; log each ever less often, and a full disk once for all."""
        logged: dict[str, OSError] = {}
        for place, error in refusals:
            self._in_flight.refused[place] = time.monotonic()
            logged["" if concerns_all(error) else str(place)] = error
        for path, error in logged.items():
            self._refused[path] += 1
            if is_reported(self._refused[path]):
                hint = refusal(self._instance.folder, error).hint if not path else "correct its permissions"
                log.error("file_refused", path=path or "all", error=error.strerror, hint=hint)

    async def _ship(self, instance: Instance, packs: Sequence[Pack]) -> None:
        """Journal one shipment a pack, in one transaction, and pass them on."""
        if not packs:
            return
        options, now = self._options.value, self._now_ms()
        shipments = [shipment_of(pack, instance.id, options, now) for pack in packs]
        numbers = [number for pack in packs for number in pack.files]
        for number in numbers:
            instance.unacknowledged[number] = instance.unacknowledged.get(number, 0) + 1
        for pack in packs:
            for span in pack.spans:
                instance.files[span.file].planned_to = max(instance.files[span.file].planned_to, span.end)
        reach("claim.packed")
        planned = [instance.files[number] for number in set(numbers)]
        await self._disk.persist(instance.folder, partial(instance.journal.plan, planned, shipments))
        reach("claim.journalled")
        metrics.IN_FLIGHT.inc(len(shipments))
        for shipment in shipments:
            await self._out.send(shipment)

    async def _follow_tails(self) -> None:
        """Ship the bytes that were appended to watched files, and forget files whose watch has ended."""
        # A file may be forgotten meanwhile; settle checks it again when its last shipment is acknowledged.
        due = [
            watched
            for watched in self._append_watch.due(_TAILS_AT_ONCE)
            if watched.file in watched.instance.files and watched.file not in watched.instance.unacknowledged
        ]
        group = self._append_watch.settled_due()
        if not due and group is None:
            return
        options = self._options.value.shipments
        found, grown = await asyncio.to_thread(
            lambda: (
                [_appended(watched, options) for watched in due],
                group.instance.grown(group.files) if group else [],
            )
        )
        reach("claim.tail_checked")
        if group is not None:
            await self._follow_settled(group, grown)
        for watched, (spans, size) in zip(due, found, strict=True):
            await self._follow(watched, spans, size)

    async def _follow(self, watched: WatchedFile, spans: list[Span], size: int) -> None:
        """Ship the bytes that were appended to a file, keep watching it, or forget it."""
        instance, number = watched.instance, watched.file
        file = instance.files.get(number)
        if file is None:
            return  # settled meanwhile
        if spans:
            # The watch is extended as long as the file grows.
            file.watch_until_ms = self._now_ms() + self._options.value.append_watch_ms
            await self._ship(instance, list(packed(self.packer, file.place.type, spans, alone=True)))
        elif size > file.planned_to:
            self._append_watch.again(watched, soon=size != watched.size)
        elif file.state is not FileState.FINAL:
            if not file.planned_to:
                # It held a torn line alone, and was truncated: its writer may begin anew, also after a restart.
                await self._disk.persist(instance.folder, partial(instance.journal.plan, [file], []))
            await self._news.send(Complete(instance=instance, file=number))
        elif size == _UNSEEN or self._now_ms() < file.watch_until_ms:
            self._append_watch.again(watched, soon=False)
        else:
            await self._forget(instance, [number])
        if spans or size <= file.planned_to:
            self._append_watch.grown.discard((instance.id, number))
        watched.size = size

    async def _follow_settled(self, group: WatchedGroup, grown: list[int]) -> None:
        """Watch the grown files one by one; forget the others once their watch has ended."""
        instance = group.instance
        if grown:
            await self._disk.persist(instance.folder, partial(instance.reopen, grown))
            for number in grown:
                self._append_watch.watch(instance, number)
            group.files = [file for file in group.files if file.number in instance.settled]
        if any(self._now_ms() < file.watch_until_ms for file in group.files):
            self._append_watch.settled_again(group)
        elif group.files:
            await self._forget(instance, [file.number for file in group.files])

    async def _forget(self, instance: Instance, numbers: list[int]) -> None:
        await self._disk.persist(instance.folder, partial(instance.forget, numbers))
        reach("claim.tail_forgotten")


def _appended(watched: WatchedFile, options: ShipmentOptions) -> tuple[list[Span], int]:
    """Return the spans to ship now, and the file's size; 0 if it is gone. Blocks on the disk.

    The size is `_UNSEEN` if the file cannot be looked at just now.

    Bytes ship once two checks in a row have found the same size. A last line without its end waits for `torn_after`
    seconds, then it ships as it is (and is rejected as torn).
    """
    file = watched.instance.files.get(watched.file)
    if file is None:
        return [], 0
    try:
        size = watched.instance.size(watched.file)
        if size <= file.planned_to:
            return [], size
        if size != watched.size:
            watched.torn_since = None
            return [], size
        now = time.monotonic()
        watched.torn_since = watched.torn_since or now
        torn_is_over = now - watched.torn_since >= options.torn_after
        return _spans(watched.instance, watched.file, file.planned_to, size, options, torn_is_over=torn_is_over), size
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        if is_reported(watched.checks + 1):
            log.warning("tail_unreadable", path=str(file.place), error=error.strerror)
        return [], _UNSEEN if error.errno in fs.MAY_PASS else 0


def _whole(number: int, claim: Claim, options: ShipmentOptions) -> list[Span]:
    """Return the one span of a claimed file that need not be read to be packed; nothing for others."""
    if claim.size > options.packing.max_bytes or not (claim.is_ended and claim.place.encoding is Encoding.PLAIN):
        return []
    return [Span(file=number, start=0, end=claim.size, weight=claim.size)]


def _spans(  # a range of a file, and how to cut it
    instance: Instance, number: int, start: int, end: int, options: ShipmentOptions, *, torn_is_over: bool = False
) -> list[Span]:
    """Return the part of the range that can be shipped, as spans of at most a shipment, cut at line ends.

    A last line that is neither ended nor a whole object is left out. Nothing is returned, and the file is checked again
    later, if it cannot be read at the moment. If its disk keeps failing, all is returned: decode waits, and reports it.
    Blocks on the disk.
    """
    encoding = instance.files[number].place.encoding
    if start >= end:
        return []
    if encoding is not Encoding.PLAIN:
        return [Span(file=number, start=start, end=end, weight=(end - start) * _COMPRESSED_WEIGHT)]
    try:
        reach("claim.find_lines", end)
        edges = _edges(instance, number, start, end, options, torn_is_over=torn_is_over)
    except OSError as error:
        if error.errno in fs.SHORTAGES or (error.errno in fs.LASTING and not torn_is_over):
            log.warning("file_delayed", path=str(instance.files[number].place), error=error.strerror)
            return []
        edges = [start, end]
    return [Span(file=number, start=a, end=b, weight=b - a) for a, b in pairwise(edges)]


def _edges(  # a range of a file, and how to cut it
    instance: Instance, number: int, start: int, end: int, options: ShipmentOptions, *, torn_is_over: bool
) -> list[int]:
    """Return where to cut the range, with its ends; one alone if there is nothing to ship."""
    edges = [start]
    descriptor = instance.open(number)
    try:
        if not torn_is_over:
            end = _whole_lines_end(descriptor, start, end, options.limits.max_line)
        for cut in equal_cuts(start, end, options.packing.max_bytes):
            # A line may be longer than several parts: no byte is searched twice.
            if cut > edges[-1]:
                edge = fs.line_start_at_or_after(descriptor, cut, end)
                if edge >= end:
                    break
                edges.append(edge)
    finally:
        os.close(descriptor)
    return [*edges, end] if end > start else [start]


def _whole_lines_end(descriptor: int, start: int, end: int, max_line: int) -> int:
    """Return where the last line starts if it is torn; else `end`."""
    last = fs.last_line_start(descriptor, max(start, end - max_line - 1), end)
    if last == end or end - last > max_line:
        return end
    line = os.pread(descriptor, end - last, last)
    return end if is_whole_object(line) or not line.strip() else last
