"""Parts of the daemon, wired for a test: a change of the wiring is a change here, and of no test."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from spoolhouse.cli.check import open_store
from spoolhouse.cli.recovery import open_files
from spoolhouse.decode.decoded import Decoded
from spoolhouse.decode.line_decoder import Line, LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.rows import Rows
from spoolhouse.doctor import rights as doctor_rights
from spoolhouse.doctor import server as doctor_server
from spoolhouse.doctor.examine import examine
from spoolhouse.doctor.finding import Finding
from spoolhouse.events import registry
from spoolhouse.events.builtin import BUILT_IN, SPANS
from spoolhouse.events.declaration import EventType, Table
from spoolhouse.events.naming import target_name
from spoolhouse.file_names import FileNames
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.heartbeat import Heartbeat
from spoolhouse.monitoring.http import serve
from spoolhouse.monitoring.progress import Silent
from spoolhouse.monitoring.recent_activity import RecentActivity
from spoolhouse.monitoring.status_model import RecentFile
from spoolhouse.pipeline import arrivals
from spoolhouse.pipeline.adopt import Adopter
from spoolhouse.pipeline.arrivals import InFlightFiles
from spoolhouse.pipeline.bisect import RowBisector
from spoolhouse.pipeline.channel import Receiver, ReceiverGoneError, Sender, channel
from spoolhouse.pipeline.claim import Claimer
from spoolhouse.pipeline.claim_gate import ClaimGate
from spoolhouse.pipeline.decode import decode
from spoolhouse.pipeline.disk_retry import DiskRetry
from spoolhouse.pipeline.insert import Inserter
from spoolhouse.pipeline.messages import Acknowledged, Batch, Complete, Counted, LinePlace, News, Round
from spoolhouse.pipeline.options import Current, Options, RejectLimits, RetentionPolicy, ScanOptions, ShipmentOptions
from spoolhouse.pipeline.postponed import PostponedShipments
from spoolhouse.pipeline.retention import Retention
from spoolhouse.pipeline.settle import Settler
from spoolhouse.pipeline.watch import watch
from spoolhouse.recover.verify import verify
from spoolhouse.retry import RetryPolicy
from spoolhouse.service import clickhouse, prepare, run
from spoolhouse.service.options import make_options
from spoolhouse.service.shared import Shared
from spoolhouse.service.status_reporter import StatusReporter
from spoolhouse.settings import Settings
from spoolhouse.settings.events import EventsSettings
from spoolhouse.spool import instance_dirs
from spoolhouse.spool.append_watch import AppendWatch
from spoolhouse.spool.archive_limits import Keep
from spoolhouse.spool.claims import Claim
from spoolhouse.spool.disk_space import MinFree
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import JournalledFile
from spoolhouse.spool.layout import Place
from spoolhouse.spool.row_ranges import RowRange
from spoolhouse.spool.shipment import FileStats, Limits, Packing, Segment, Shipment
from spoolhouse.spool.shipment_reader import ShipmentReader
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.landing.presence import Found
from spoolhouse.store.clickhouse.landing.repair import Repairer
from spoolhouse.store.clickhouse.landing.sent_batches import ClickHouseSentBatches
from spoolhouse.store.clickhouse.schema.migrate import check
from spoolhouse.store.clickhouse.schema.render import DEFAULT_PREFIX
from spoolhouse.store.clickhouse.store import ClickHouseStore
from tests.engine import Database

NOW_MS = 1_700_000_000_000
ENOUGH = 30.0
NEVER = 3600.0
DAY = 86_400.0
LINE = b'{"type": "span"}\n'
LIMITS = Limits(max_rows=1000, max_insert_bytes=1 << 20, side_bytes=1 << 20, max_line=1000, project="trust")

# Settings, and the daemon as a whole.

OPTIONS = replace(make_options(Settings(), BUILT_IN, once=False), retry=RetryPolicy(first=0.01, cap=0.01))
"""Those of the settings, but with short pauses."""


def rollup_targets(table: Table) -> list[str]:
    """Return the names of the tables that a table is rolled up into, without a prefix."""
    return [target_name(rollup, prefix="") for rollup in table.rollups]


def options(**changes: Any) -> Current[Options]:
    """Return options that differ in these from the settings' defaults."""
    return Current(replace(OPTIONS, **changes))


def retrying(first: float, cap: float, patience: float | None = None) -> Current[Options]:
    """Return options with these pauses between attempts."""
    return options(retry=RetryPolicy(first=first, cap=cap, patience=patience))


def settings(url: str = "", spool: Path | None = None, /, **sections: Mapping[str, object]) -> Settings:
    """Return settings with this server and this spool; `sections` add to them."""
    group = "store" if url.startswith("duckdb:") else "clickhouse"
    given: dict[str, Mapping[str, object]] = {group: {"url": url}} if url else {}
    if spool is not None:
        given["spool"] = {"storage_path": spool, "base_path": "", "quiet": 0.01}
    names = {*given, *sections}
    return Settings.model_validate({name: {**given.get(name, {}), **sections.get(name, {})} for name in names})


def ingest(used: Settings) -> int:
    """Run the daemon once, in this process; return its exit code."""
    return asyncio.run(run.run(used, once=True))


@asynccontextmanager
async def driver(used: Settings) -> AsyncIterator[Driver]:
    """Lend the driver that the settings name."""
    opened = clickhouse.open_driver(used)
    try:
        yield opened
    finally:
        await opened.close()


async def prepared(used: Settings) -> None:
    """Bring the schema up to date, as a start does."""
    async with driver(used) as opened:
        await clickhouse.prepare(used, opened, clickhouse.schema_of(used, BUILT_IN))


async def differences(used: Settings) -> list[str]:
    """Return what a migration would do, the types of the settings' folder included."""
    async with driver(used) as opened:
        plan = await check(clickhouse.schema_of(used, registry.load(used.events)), opened)
        return [str(item) for item in (*plan.statements, *plan.refusals)]


async def verdicts(used: Settings, path: Path) -> dict[str, int]:
    """Return how many rows of a settled file are where."""
    async with open_files(used) as files:
        [verified] = [one async for one in verify(files, [path])]
        return {one.verdict: one.rows for _, found in verified.batches for one in found}


async def replayed(used: Settings, path: Path) -> list[str]:
    """Bring back what ClickHouse lacks of a settled file; return the tables that it lacked rows in."""
    async with open_files(used) as files:
        return [one.table async for outcome in files.replay(path, dry_run=False) for one in outcome.repaired]


async def findings(used: Settings) -> list[Finding]:
    """Return what the doctor finds."""
    async with open_store(used) as store:
        return [finding async for finding in examine(used, store)]


async def rights(used: Settings, *, several: bool) -> list[Finding]:
    """Return what the doctor finds of rights; `several`: as if several hosts were named."""
    async with open_store(used) as store:
        told = replace(store, needs=replace(store.needs, several=several))
        return [finding async for finding in doctor_rights.examine(told)]


async def clocks(used: Settings, now_ms: Callable[[], int]) -> list[Finding]:
    """Return what the doctor finds of clocks, if ours shows this time."""
    async with open_store(used) as store:
        return [finding async for finding in doctor_server.clock(store, now_ms)]


async def repaired(used: Settings, table: Table, row: bytes, clock_ms: int) -> list[str]:
    """Repair a batch of one row that is nowhere; return the tables that got it."""

    async def rows() -> AsyncGenerator[Rows]:
        yield Rows(data=row + b"\n", count=1)

    insert = RowsInsert(
        table=DEFAULT_PREFIX + table.name, columns=table.columns, batch_id="b", token="b", clock_ms=clock_ms
    )
    async with driver(used) as opened:
        repairer = Repairer(driver=opened, prefix=DEFAULT_PREFIX, shards=None)
        tables = [one.table for one in await repairer.repair(table, insert, rows(), Found())]
        await repairer.drop_staging("b")
        return tables


async def guard(used: Settings, beats: Heartbeat, *, limit: float) -> None:
    """Run the guard as a stage that `beats` follows."""
    backend = clickhouse.ClickHouseBackend(used, fingerprint="f")
    try:
        guarding = prepare.keep_guard(lambda: used, backend, Health(), asyncio.Event(), BUILT_IN)
        await beats.follow("guard", guarding, limit=limit)
    finally:
        await backend.close()


def heartbeat(clock: Callable[[], float]) -> Heartbeat:
    """Return what follows stages by this clock."""
    return Heartbeat(clock)


@contextmanager
def reporter(used: Settings, clock: Callable[[], float] = time.monotonic) -> Iterator[StatusReporter]:
    """Lend the reporter of a run whose stages do not exist yet."""
    shared = Shared(settings=used, events=dict(BUILT_IN), heartbeat=Heartbeat(clock))
    with closing(StatusReporter(shared=shared)) as made:
        yield made


@asynccontextmanager
async def served(by: StatusReporter) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve the status; lend a client of it."""
    http = by.shared.settings.http
    async with (
        serve(http.address, by, names=http.names, required=True) as url,
        aiohttp.ClientSession(url) as session,
    ):
        yield session


# Instances and what they claim.


@contextmanager
def instance(spool: Path, instance_id: str = "own") -> Iterator[Instance]:
    """Lend a new instance."""
    with closing(Instance.create(spool, instance_id)) as made:
        yield made


def instances(spool: Path) -> list[str]:
    """Return the ids of all instances of a spool."""
    return instance_dirs.names(spool)


def drop(spool: Path, name: str = "a.jsonl", content: bytes = b"{}\n", kind: str = "span") -> Place:
    """Put a file into the spool."""
    place = Place(type=kind, project="p", name=name)
    path = spool / place.relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return place


def claim(by: Instance, name: str = "a.jsonl", content: bytes = b"{}\n", kind: str = "span") -> JournalledFile:
    """Drop and claim a file; it is not in the journal yet."""
    ((_, result),) = by.claim([drop(by.spool, name, content, kind)])
    assert isinstance(result, Claim)
    return by.add(result, NOW_MS)


def plan(by: Instance, name: str, *files: JournalledFile, clock_ms: int = NOW_MS) -> Shipment:
    """Journal a shipment of whole files, as the claim stage does."""
    for file in files:
        file.planned_to = by.path(file.number).stat().st_size
        by.unacknowledged[file.number] = by.unacknowledged.get(file.number, 0) + 1
    segments = tuple(Segment(file=file.number, start=0, end=file.planned_to) for file in files)
    made = shipment(name, *segments, by=by.id, kind=files[0].place.type, clock_ms=clock_ms)
    by.journal.plan(files, [made])
    return made


def shipment(
    name: str, *segments: Segment, by: str = "own", kind: str = "span", clock_ms: int = NOW_MS, replay: bool = False
) -> Shipment:
    """Return a shipment of an instance, which is in no journal."""
    return Shipment(
        id=name,
        instance=by,
        type=kind,
        segments=segments,
        clock_ms=clock_ms,
        fingerprint="f",
        limits=LIMITS,
        replay=replay,
    )


def drop_entries(instances: Iterable[Instance]) -> None:
    """Stand where the ledger's recorder does, without a server; no entry may be of rows, because nothing has landed."""
    for one in instances:
        for number, entry in one.journal.entries(1_000_000):
            assert not entry.lineage.rows
            one.journal.recorded(number)


def disk_retry(
    by: Current[Options] | None = None, *, health: Health | None = None, stop: asyncio.Event | None = None
) -> DiskRetry:
    """Return what repeats refused writes and reads."""
    return DiskRetry(health or Health(), by or options(), stop or asyncio.Event())


# The stages before a batch.


class ArrivalsStage:
    """The arrivals stage over the types span and log, and the places that it has passed on."""

    def __init__(self, spool: Path, *, quiet: float, poll_interval: float, capacity: int = 100) -> None:
        self.spool = spool
        scan = ScanOptions(project_id=None, names=FileNames(), quiet=quiet, poll_interval=poll_interval)
        self.options = Current(replace(OPTIONS, scan=scan))
        self.in_flight = InFlightFiles()
        self.wake, self.stop = asyncio.Event(), asyncio.Event()
        self.out, self.places = channel(capacity, Place)

    async def run(self) -> None:
        await arrivals.arrivals(
            self.out,
            spool=self.spool,
            types=("span", "log"),
            options=self.options,
            in_flight=self.in_flight,
            wake=self.wake,
            stop=self.stop,
            progress=Silent(),
        )

    async def watch(self) -> None:
        """Set `wake` when something changes in the spool."""
        await watch(self.spool, self.in_flight, self.wake, self.stop)

    async def next(self, count: int = 1) -> list[str]:
        """Return what is passed on next."""
        return [str(await self.places.receive()) for _ in range(count)]

    async def rest(self) -> list[str]:
        """Return what was passed on, once the stage has ended."""
        return [str(place) async for place in self.places]

    def end(self) -> None:
        self.stop.set()
        self.wake.set()


def pass_on_for(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let what a scan found be passed on for so long, however long the scan took."""
    monkeypatch.setattr(arrivals, "FRESH", seconds)
    monkeypatch.setattr(arrivals, "SCAN_SHARE", 0)


def keeping_free(least: int) -> Current[Options]:
    """Return options that leave so many bytes free."""
    return options(disk=replace(OPTIONS.disk, min_free=MinFree(bytes=least, inodes=0)))


def claim_gate(spool: Path, health: Health | None = None, by: Current[Options] | None = None) -> ClaimGate:
    """Return the gate before claiming, which a disk of any fullness leaves open unless options are given."""
    return ClaimGate(spool, health or Health(), by or keeping_free(0))


class Display(Silent):
    """Keeps what a display would be told of settled files."""

    def __init__(self) -> None:
        self.settlements: list[tuple[str, str, int, int, int]] = []
        self.destinations: asyncio.Queue[str] = asyncio.Queue()
        self.first = asyncio.Event()

    def settled(self, file: RecentFile, /) -> None:
        self.settlements.append((file.path, file.destination or "", file.bytes, file.rows, file.rejected))
        self.destinations.put_nowait(file.destination or "")
        self.first.set()


class ClaimStage:
    """A claimer and what surrounds it. `watch` makes settle follow: seconds that a settled file is watched."""

    def __init__(
        self,
        spool: Path,
        *,
        max_bytes: int = 1 << 20,
        max_files: int = 100,
        linger: float = 0.02,
        torn_after: float = NEVER,
        watch: float | None = None,
    ) -> None:
        self.spool = spool
        self.instance = Instance.create(spool, "own")
        packing = Packing(max_bytes=max_bytes, max_files=max_files, linger=linger)
        shipments = ShipmentOptions(limits=LIMITS, packing=packing, torn_after=torn_after)
        self.options = Current(replace(OPTIONS, fingerprint="f", shipments=shipments, append_watch=watch or 0.0))
        self.ahead_ms = 0
        """How far the claimer's clock is ahead of the others'."""
        self.in_flight, self.append_watch = InFlightFiles(), AppendWatch()
        self.wake = asyncio.Event()
        self.writable, self.gate, self.stop = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.writable.set()
        self.gate.set()
        self.places_in, self.places = channel(1000, Place)
        self.shipments_in, self.shipments = channel(100, Shipment)
        self.news_in: Sender[News]
        self.news: Receiver[News]
        self.news_in, self.news = channel(1000)
        self.progress = Display()
        self.held: set[str] = set()
        self.disk = disk_retry(self.options)
        self.claimer = Claimer(
            instance=self.instance,
            options=self.options,
            append_watch=self.append_watch,
            in_flight=self.in_flight,
            out=self.shipments_in,
            news=self.news_in.clone(),
            writable=self.writable,
            gate=self.gate,
            is_held=lambda kind: kind in self.held,
            stop=self.stop,
            disk=self.disk,
            wake=self.wake,
            now_ms=lambda: time.time_ns() // 1_000_000 + self.ahead_ms,
        )
        self._follows = watch is not None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["ClaimStage"]:
        """Run until the end of the block, then until all is passed on."""
        follower = settler(
            self.instance,
            append_watch=self.append_watch,
            by=self.options,
            now_ms=lambda: time.time_ns() // 1_000_000,
            progress=self.progress,
            in_flight=self.in_flight,
            wake=self.wake,
        )
        async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
            group.create_task(self.claimer.run(self.places))
            if self._follows:
                group.create_task(follower.run(self.news))
            yield self
            self.places_in.close()
            self.news_in.close()

    async def drop(self, name: str = "a.jsonl", content: bytes = LINE, kind: str = "span") -> Path:
        """Drop a file and announce it; return its path."""
        place = drop(self.spool, name, content, kind)
        await self.announce(place)
        return self.spool / place.relative

    async def announce(self, *places: Place) -> None:
        for place in places:
            self.in_flight.under_way.add(place)
            await self.places_in.send(place)

    async def shipment(self) -> Shipment:
        """Return the next shipment; the journal has it already."""
        found = await self.shipments.receive()
        planned = {item.id: item for item in (await asyncio.to_thread(self.instance.journal.load)).planned}
        assert replace(found, replay=True) == planned[found.id]
        return found

    async def acknowledge(self, landed: Shipment) -> None:
        """Say that all of it has landed."""
        stats = {segment.file: FileStats(lines=1) for segment in landed.segments}
        await self.news_in.send(Counted(shipment=landed, batches=0, stats=stats))

    async def destination(self) -> Path:
        """Return where the next file that comes to its end is."""
        return self.spool / await self.progress.destinations.get()

    async def expired(self) -> None:
        """Wait until no file is watched any more."""
        while self.instance.files or self.instance.settled:  # noqa: ASYNC110  # nothing tells of it but the list itself
            await asyncio.sleep(0.01)


@asynccontextmanager
async def decoding(by: Instance, one: Shipment, used: Settings) -> AsyncIterator[Batch]:
    """Run the decode stage over one shipment; lend its first batch, with what can open its rows again."""
    with ThreadPoolExecutor(1) as executor:
        batches_in, batches = channel(2, Batch)
        news_in, _ = news_channel(10)
        shipments_in, shipments = channel(1, Shipment)
        await shipments_in.send(one)
        shipments_in.close()
        async with driver(used) as opened:
            disk, instances = disk_retry(), {by.id: by}
            sent = ClickHouseSentBatches(driver=opened, prefix="", shards=None)
            await decode(
                shipments,
                batches_in,
                news_in,
                reader=ShipmentReader(instances, BUILT_IN, "", executor, disk),
                instances=instances,
                disk=disk,
                recent=RecentActivity(),
                postponed=PostponedShipments(health=Health(), disk=disk, sent=sent, instances=instances),
                is_left=lambda _: False,
            )
            yield await batches.receive()


# Insert.


def decoded(data: bytes, project: str = "p", *, clock_ms: int, kind: str = "", file: str = "") -> Decoded:
    """Return what lines are decoded to."""
    origin = Origin(project=project, policy="trust", clock_ms=clock_ms, type=kind, file=file)
    return LineDecoder(BUILT_IN).decode(Piece(offset=0, data=data), origin)


@dataclass(slots=True, kw_only=True)
class InsertStage:
    """The insert stage of one instance, for batches of the id `{shipment}:{table}`."""

    database: Database
    instance: Instance
    shipment: Shipment
    url: str = ""
    fingerprint: str = "f"
    max_ratio: float = 0.1
    min_rows: int = 20
    located: int = 1000
    """How many lines are found again."""
    news: list[Acknowledged] = field(default_factory=list)
    health: Health = field(default_factory=Health)
    decoding: "asyncio.Task[None]" = field(init=False)
    options: Current[Options] = field(init=False)
    inserter: Inserter = field(init=False)

    async def deliver(self, content: Sequence[Rows], *, table: Table = SPANS, shipment: Shipment | None = None) -> None:
        """Deliver the batch that has these rows, to the end."""
        self.options = Current(
            replace(
                OPTIONS,
                fingerprint=self.fingerprint,
                retry=RetryPolicy(first=0.01, cap=0.1),
                reject_limits=RejectLimits(max_ratio=self.max_ratio, min_rows=self.min_rows),
            )
        )
        async with driver(settings(self.url or self.database.native_url)) as opened:
            self.inserter = Inserter(
                ClickHouseStore(opened, prefix=DEFAULT_PREFIX, fingerprint=self.fingerprint),
                sent=ClickHouseSentBatches(driver=opened, prefix=DEFAULT_PREFIX, shards=None),
                options=self.options,
                health=self.health,
                bisector=RowBisector(
                    instances={self.instance.id: self.instance}, options=self.options, disk=disk_retry(self.options)
                ),
                progress=Silent(),
                stop=asyncio.Event(),
            )
            batches_in, batches = channel(1, Batch)
            await batches_in.send(self._batch(content, shipment or self.shipment, table))
            batches_in.close()
            news_in, news = news_channel(1)
            await self.inserter.run(batches, news_in)
        self.news += [item async for item in news if isinstance(item, Acknowledged)]

    def tolerate(self, max_ratio: float) -> None:
        """Let more rows of a batch be rejected, from now on."""
        limits = RejectLimits(max_ratio=max_ratio, min_rows=self.min_rows)
        self.options.value = replace(self.options.value, reject_limits=limits)

    def _batch(self, content: Sequence[Rows], one: Shipment, table: Table) -> Batch:
        async def reopen() -> AsyncGenerator[Rows]:
            for rows in content:
                yield rows

        async def locate(numbers: Collection[int]) -> AsyncGenerator[tuple[Segment, int, Line]]:
            for number in sorted(numbers)[: self.located]:
                line = Line(line=number + 1, offset=number, raw=b"{}", row=number)
                yield Segment(file=1, start=0, end=1), 0, line

        async def locate_rows(places: Collection[LinePlace]) -> AsyncGenerator[tuple[LinePlace, str, RowRange]]:
            for file, number in sorted(places):
                yield (file, number), table.name, RowRange(first=number, end=number + 1)

        live_in, live = channel(1, Rows)
        count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        common = Round(tables=[table], locate_rows=locate_rows, batches=asyncio.get_running_loop().create_future())

        async def decode_all() -> None:
            """Hand the rows over as decode does: the count is known once all are taken, or nobody takes them."""
            with suppress(ReceiverGoneError):
                for rows in content:
                    await live_in.send(rows)
            live_in.close()
            count.set_result(sum(rows.count for rows in content))
            common.batches.set_result((batch,))

        batch = Batch(
            id=f"{one.id}:{table.name}",
            shipment=one,
            table=table,
            round_number=0,
            round=common,
            live=live,
            reopen=reopen,
            locate=locate,
            count=count,
        )
        self.decoding = asyncio.create_task(decode_all())
        return batch


# Settle, and what comes after.


def shipment_channel(capacity: int) -> tuple[Sender[Shipment], Receiver[Shipment]]:
    """Return the ends of a channel to decode."""
    return channel(capacity)


def news_channel(capacity: int) -> tuple[Sender[News], Receiver[News]]:
    """Return the ends of a channel to settle."""
    return channel(capacity)


def settler(
    *instances: Instance,
    by: Current[Options] | None = None,
    delete: bool = False,
    watch_ms: int | None = None,
    append_watch: AppendWatch | None = None,
    progress: Display | None = None,
    health: Health | None = None,
    now_ms: Callable[[], int] = lambda: NOW_MS,
    in_flight: InFlightFiles | None = None,
    wake: asyncio.Event | None = None,
) -> Settler:
    """Return the settle stage of these instances. `watch_ms`: how long a settled file is watched."""
    by = by or options()
    by.value = replace(by.value, delete=by.value.delete or delete)
    if watch_ms is not None:
        by.value = replace(by.value, append_watch=watch_ms / 1000)
    return Settler(
        instances={one.id: one for one in instances},
        append_watch=append_watch or AppendWatch(),
        options=by,
        now_ms=now_ms,
        progress=progress or Silent(),
        disk=disk_retry(by, health=health),
        in_flight=in_flight or InFlightFiles(),
        wake=wake or asyncio.Event(),
    )


async def settle(stage: Settler, *news: News) -> None:
    """Let the settle stage work through this news, to its end."""
    sender, receiver = news_channel(len(news) + 1)
    for item in news:
        await sender.send(item)
    sender.close()
    await stage.run(receiver)
    drop_entries(stage.instances.values())


async def settle_all(stage: Settler, files: int, *news: News) -> None:
    """Run the settle stage until so many files have ended, and none is stuck."""
    sender, receiver = news_channel(len(news) + 1)
    for item in news:
        await sender.send(item)

    async def end() -> None:
        while stage.stuck or stage.outcome.files < files:  # noqa: ASYNC110  # nothing tells of it but these
            await asyncio.sleep(0.001)
        sender.close()

    async with asyncio.timeout(ENOUGH), asyncio.TaskGroup() as group:
        group.create_task(stage.run(receiver))
        group.create_task(end())
    drop_entries(stage.instances.values())


def retention(by: Instance, *, max_age: float | None = DAY, max_bytes: int | None = None) -> Retention:
    """Return what deletes old files of `processed/`, once they were watched for a minute."""
    keep = Keep(max_age=max_age, max_bytes=max_bytes)
    policy = RetentionPolicy(keep=keep, append_watch=60.0, interval=0.01, names=FileNames())
    return Retention(by, {by.id: by}, Current(replace(OPTIONS, retention=policy)))


class Neighbour:
    """A running instance that adopts, settles, and says of every shipment that it has landed."""

    def __init__(self, spool: Path, name: str = "own", *, delete: bool = False) -> None:
        self.instance = Instance.create(spool, name)
        self.instances = {name: self.instance}
        self.append_watch = AppendWatch()
        by = Current(replace(OPTIONS, adopt_interval=0.01, append_watch=0.0, delete=delete))
        self.adopter = Adopter(
            own=self.instance,
            instances=self.instances,
            append_watch=self.append_watch,
            types=("span",),
            options=by,
            now_ms=lambda: NOW_MS,
        )  # fmt: skip
        self.settler = settler(by=by, append_watch=self.append_watch)
        self.settler.instances = self.instances
        self.stop = asyncio.Event()
        self.shipments: list[Shipment] = []
        self.completed: list[str] = []

    async def adopt(self) -> tuple[list[Shipment], list[News]]:
        """Adopt what there is; return what came of it."""
        shipments_in, shipments = channel(1000, Shipment)
        news_in, news = news_channel(1000)
        async with shipments_in, news_in:
            while not await self.adopter.scan(shipments_in, news_in, self.stop) and not self.stop.is_set():
                pass
        return [one async for one in shipments], [item async for item in news]

    async def run(self, shipments_in: Sender[Shipment]) -> None:
        """Adopt until `stop`."""
        news_in, _ = news_channel(10)
        await self.adopter.run(shipments_in, news_in, self.stop)

    async def scan(self) -> None:
        """Adopt what there is, and settle it to its end."""
        adopted, complete = await self.adopt()
        for item in complete:
            assert isinstance(item, Complete)
            self.completed.append(str(item.instance.files[item.file].place))
        self.shipments += adopted
        landed = [
            Counted(
                shipment=one,
                batches=0,
                stats={segment.file: FileStats(lines=1, rows={"spans": 1}) for segment in one.segments},
            )
            for one in adopted
        ]
        await settle(self.settler, *complete, *landed)

    def close(self) -> None:
        for one in self.instances.values():
            one.close()


def event_types(folder: Path) -> Mapping[str, EventType]:
    """Return all event types, those included that the folder's files declare."""
    return registry.load(EventsSettings(folder=folder))
