"""Shipments whose decoding was broken off wait here to be decoded again, while others are decoded.

Promises: no part of a round is sent as if it were the whole round; if an earlier process may have landed rows of a
shipment, the shipment is held as journalled, not shortened by its unreadable part; it is tried again now and then, and
after a restart. Where none has landed, batches that were cut up are whole again: their parts were those of more rows.
"""

import math
import time
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path

from msgspec import Struct, field

from spoolhouse.errors import DiskError, HeldReadError, LeftError, ReadError, StoreError, TransientError
from spoolhouse.events.declaration import Table
from spoolhouse.monitoring.health import Health
from spoolhouse.pipeline.bisect import refused_lines
from spoolhouse.pipeline.channel import Receiver
from spoolhouse.pipeline.disk_retry import DiskRetry, hint_for
from spoolhouse.pipeline.ports import SentBatches
from spoolhouse.spool.fs import LASTING, SHORTAGES
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.read_extents import Position
from spoolhouse.spool.shipment import Shipment
from spoolhouse.spool.shipment_pieces import Unreadable

_CHECK = 0.5
"""Seconds between two checks for shipments that are due."""
_HINT = (
    "put the file back as it was, or wait for its disk: the shipment is tried again, also after a restart; if it is"
    " gone for good, stop the daemons and run `spoolhouse release --give-up`"
)


class WithdrawnError(TransientError):
    """Decode takes a batch back before all of its rows are known: nothing of it may land, and it comes again."""


class BrokenOffError(Exception):
    """A shipment cannot be read on.

    `passes`: the error may pass, so the read is tried again first. Else the store is asked which rows were sent before.
    """

    def __init__(self, error: ReadError, round_number: int, *, passes: bool) -> None:
        """Take the error, and its round."""
        super().__init__(str(error))
        self.error = error
        self.round_number = round_number
        self.passes = passes


class Decodable(Struct, kw_only=True):
    """A shipment to decode, for the first time in this process or again."""

    shipment: Shipment
    sent_rounds: int = 0
    """The batches of so many rounds were handed over, and are on their way: they are not sent again."""
    may_shorten_from: float = math.inf
    """The first round that the store has no row of; it has none of later rounds either."""
    landed_to: int = -1
    """The last round that the store has rows of."""
    path: str = ""
    """The file that could not be read, and up to where the shipment could."""
    at: Position = (0, 0)
    since: float = 0.0
    """Since when it could not be read on from there (monotonic)."""
    failures: int = 0
    due: float = 0.0
    held: bool = False
    """It waits until its file can be read again."""

    def expect_end(self, path: Path, end: Unreadable, at: Position, round_number: int, disk: DiskRetry) -> None:
        """Return if a file may end here for good. Raises `BrokenOffError`.

        Raises `ReadError` where the patience of a run with an end is used up.
        """
        now = time.monotonic()
        if not self.path or at > self.at:
            self.at, self.since = at, now
        self.path = str(path)
        error = ReadError(f"{path}: {end.failure}", hint=hint_for(end.errno))
        if end.errno in SHORTAGES:
            if disk.retry_policy.is_used_up(self.since):
                raise error
            raise BrokenOffError(error, round_number, passes=True)
        if end.errno in LASTING and now - self.since < disk.read_wait:
            raise BrokenOffError(error, round_number, passes=True)
        is_sent = round_number < self.sent_rounds
        if is_sent or (self.shipment.replay and round_number < self.may_shorten_from):
            raise BrokenOffError(error, round_number, passes=False)


class PostponedShipments(Struct, kw_only=True):
    """The shipments to decode again; shared by the decoders."""

    health: Health
    disk: DiskRetry
    sent: SentBatches
    instances: Mapping[str, Instance]
    _waiting: list[Decodable] = field(default_factory=list)

    async def next(self, shipments: Receiver[Shipment]) -> Decodable | None:
        """Return a shipment that is due, or a new one; None at the end. The journal keeps those that still wait."""
        while True:
            now = time.monotonic()
            for item in self._waiting:
                if item.due <= now:
                    self._waiting.remove(item)
                    return item
            wait = min([_CHECK, *(item.due - now for item in self._waiting)]) if self._waiting else None
            try:
                for shipment in await shipments.receive_many(1, wait):
                    return Decodable(shipment=shipment)
            except StopAsyncIteration:
                return None

    async def postpone(self, item: Decodable, broken: BrokenOffError, tables: Collection[Table]) -> None:
        """Put a shipment aside whose last round was withdrawn; find out whether it may be shortened, if need be."""
        error: DiskError | None = broken.error
        if not broken.passes:
            error = await self._unless_unsent(item, broken, tables)
        item.failures += 1
        item.due = time.monotonic()
        if error is not None:
            item.due += self.disk.retry_policy.pause(item.failures)
            self.health.bad(item.path, error)
        self._waiting.append(item)

    async def _unless_unsent(
        self, item: Decodable, broken: BrokenOffError, tables: Collection[Table]
    ) -> DiskError | None:
        """Return why a shipment may not be shortened; None if the store has nothing of the round, or a later one."""
        number, message = broken.round_number, broken.error.message
        if max(item.landed_to, item.sent_rounds - 1) < number:
            try:
                sent = await self.sent.find(item.shipment.id, tables)
            except StoreError as unknown:
                item.held = self.disk.retry_policy.is_used_up(item.since)
                return ReadError(f"{message}; whether rows of it have landed is not known: {unknown}", hint=_HINT)
            item.landed_to = max((item.shipment.round_of(batch) for batch in sent), default=-1)
            if item.landed_to < number:
                return await self._let_shorten(item, number)
        item.held = True
        return HeldReadError(f"{message}; it was read further before, and has landed in part", hint=_HINT)

    async def _let_shorten(self, item: Decodable, number: int) -> LeftError | None:
        """Allow rounds from `number` on to have fewer rows than the dead process knew of: how it cut them up is void.

        Return an error if a stop came first: the next start begins with the same question.
        """
        instance = self.instances[item.shipment.instance]
        try:
            await self.disk.persist(instance.folder, partial(_drop_cuts, instance, item.shipment, number))
        except LeftError as left:
            return left
        item.may_shorten_from = number
        return None

    def done(self, item: Decodable) -> None:
        """Note that a shipment was decoded to its end."""
        if item.path:
            self.health.good(item.path)

    def held(self) -> set[tuple[str, int]]:
        """Return the files, by instance and number, of all that is held."""
        return {
            (item.shipment.instance, segment.file)
            for item in self._waiting
            if item.held
            for segment in item.shipment.segments
        }


def _drop_cuts(instance: Instance, shipment: Shipment, from_round: int) -> None:
    """Make batches whole again that were cut up; first remove the records of their refused lines."""
    batches = instance.journal.cut_batches(shipment, from_round)
    for batch in batches:
        refused_lines(instance, batch, shipment).finish()
    instance.journal.drop_cuts(batches)
