"""What can be said of a running daemon, put together when somebody asks: the answers of the HTTP server.

Counts come from the metrics, states from the parts that have them. Asking is cheap, whatever the backlog.
"""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import structs

from spoolhouse import __version__
from spoolhouse.events.declaration import EventType
from spoolhouse.monitoring import metrics, recent_activity
from spoolhouse.monitoring.counters import Counter, Gauge, Labels
from spoolhouse.monitoring.health import Health
from spoolhouse.monitoring.heartbeat import Heartbeat
from spoolhouse.monitoring.logs import HIDDEN, printable
from spoolhouse.monitoring.loop_lag import LoopLagMonitor
from spoolhouse.monitoring.status_model import (
    Backlog,
    Liveness,
    RatePoint,
    Rates,
    Readiness,
    Status,
    Trouble,
    TypeStatus,
)
from spoolhouse.pipeline.adopt import Adopter
from spoolhouse.pipeline.arrivals import InFlightFiles
from spoolhouse.pipeline.claim_gate import ClaimGate
from spoolhouse.pipeline.record import LedgerRecorder
from spoolhouse.pipeline.settle import Settler
from spoolhouse.settings import Settings
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal import FileState

_TICK = 1.0
_RATE_TICKS = 10
"""Seconds that rates are averaged over."""
_POINT_TICKS = 5
_POINTS = 180
"""A quarter of an hour in the chart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The parts of a service that have something to tell."""

    instance: Instance
    instances: Mapping[str, Instance]
    in_flight: InFlightFiles
    settler: Settler
    recorder: LedgerRecorder
    adopter: Adopter
    gate: ClaimGate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Totals:
    """What had been done at a moment (monotonic)."""

    at: float
    rows: float
    bytes: float
    files: float


@dataclass(slots=True, kw_only=True)
class StatusReporter:
    """One run, from before its first look at ClickHouse to its end. Made in the running loop."""

    settings: Settings
    events: Mapping[str, EventType]
    health: Health = field(default_factory=Health)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    stalls: LoopLagMonitor = field(default_factory=LoopLagMonitor)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    work: Sources | None = None
    """None for a moment at the start."""
    prefix: str = field(init=False)
    _started_ms: int = field(init=False)
    _ticks: int = 0
    _totals: deque[_Totals] = field(default_factory=lambda: deque(maxlen=_RATE_TICKS + 1))
    _points: deque[RatePoint] = field(default_factory=lambda: deque(maxlen=_POINTS))
    _timer: asyncio.TimerHandle | None = None
    _claimed: tuple[float, int] = (float("-inf"), 0)

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.prefix = self.settings.clickhouse.insert_prefix
        self._started_ms = time.time_ns() // 1_000_000
        for name, event in self.events.items():
            # A series that is not there before its first event hides that event from rate().
            metrics.LINES.labels(name, "landed")
            metrics.LINES.labels(name, "rejected")
            metrics.FILES.labels(name, "processed")
            metrics.FILES.labels(name, "failed")
            for part in event.parts:
                metrics.ROWS.labels(self.prefix + part.table.name)
        self._tick()

    def close(self) -> None:
        """End the watching."""
        self.stalls.stop()
        if self._timer is not None:
            self._timer.cancel()

    def liveness(self) -> Liveness:
        """Return whether all stages get on."""
        stuck = self.heartbeat.stuck()
        return Liveness(alive=not stuck, stuck={stage: round(seconds, 1) for stage, seconds in stuck.items()})

    def readiness(self) -> Readiness:
        """Return whether ClickHouse takes rows of all types, and this daemon too."""
        state = "stopping" if self.stop.is_set() else "running" if self.health.answered else "starting"
        if state == "running" and self._paused() is not None:
            state = "paused"
        reasons = [self._concealed(trouble) for trouble in self.health.reasons(self._types())]
        # A ledger that is behind keeps no row out.
        waiting = any(trouble.types for trouble in reasons)
        # A pause is somebody's wish, and no reason to be restarted or to be called out of bed.
        return Readiness(ready=state in {"running", "paused"} and not waiting, state=state, reasons=reasons)

    def exposition(self) -> bytes:
        """Return the metrics, states included."""
        readiness = self.readiness()
        backlog = self._backlog()
        metrics.READY.set(readiness.ready)
        metrics.PAUSED.set(self._paused() is not None)
        waiting = {name for trouble in readiness.reasons for name in trouble.types}
        for table, types in self._types().items():
            metrics.TABLE_HELD.labels(table).set(not waiting.isdisjoint(types))
        metrics.OLDEST_PENDING.set(backlog.oldest_seconds)
        metrics.CLAIMED_FILES.set(backlog.claimed_files)
        metrics.UNMOVABLE_FILES.set(backlog.unmovable_files)
        metrics.HELD_INSTANCES.set(backlog.held_instances)
        metrics.LEDGER_ENTRIES.set(backlog.ledger_entries)
        metrics.STUCK_STAGES.set(len(self.heartbeat.stuck()))
        from spoolhouse.monitoring import exposition  # noqa: PLC0415  # it is there already where there is an HTTP server

        return exposition.text()

    def status(self) -> Status:
        """Return everything."""
        values = metrics.read()
        readiness = self.readiness()
        last = values["spoolhouse_last_landed_timestamp_seconds"][()]
        return Status(
            version=__version__,
            instance=self.work.instance.id if self.work is not None else None,
            pid=os.getpid(),
            host=socket.gethostname(),
            spool=printable(self.settings.spool.root),
            at_ms=time.time_ns() // 1_000_000,
            started_ms=self._started_ms,
            readiness=readiness,
            liveness=self.liveness(),
            backlog=self._backlog(),
            rates=self._rates(),
            loop_lag=round(self.stalls.longest, 3),
            paused=self._paused(),
            last_landed_ms=round(last * 1000) or None,
            bytes=_sum(values, "spoolhouse_read_bytes_total"),
            files=_by(values, "spoolhouse_files_total", "outcome"),
            types=self._by_type(values, readiness),
            rejects=_by(values, "spoolhouse_rejects_total", "reason"),
            retries=_by(values, "spoolhouse_retries_total", "code"),
            adoptions=_sum(values, "spoolhouse_adoptions_total"),
            recent_files=list(reversed(recent_activity.files)),
            recent_rejects=list(reversed(recent_activity.rejects)),
            history=list(self._points),
            servers={
                dict(labels)["server"]: value > 0 for labels, value in values.get("spoolhouse_server_up", {}).items()
            },
        )

    def _paused(self) -> str | None:
        return None if self.work is None else self.work.gate.paused

    def _types(self) -> dict[str, list[str]]:
        """Return the event types of each table."""
        types: dict[str, list[str]] = {}
        for name, event in self.events.items():
            for part in event.parts:
                types.setdefault(self.prefix + part.table.name, []).append(name)
        return types

    def _concealed(self, trouble: Trouble) -> Trouble:
        """Return it without a secret, even if ClickHouse's own words should hold one."""

        def shown(text: str) -> str:
            for secret in self.settings.secrets():
                text = text.replace(secret, HIDDEN)
            return printable(text)

        hint = trouble.hint and shown(trouble.hint)
        return structs.replace(trouble, error=shown(trouble.error), hint=hint, summary=shown(trouble.summary))

    def _by_type(self, values: "_Values", readiness: Readiness) -> list[TypeStatus]:
        waiting = {name for trouble in readiness.reasons for name in trouble.types}
        lines = {
            (dict(labels)["type"], dict(labels)["outcome"]): value
            for labels, value in values["spoolhouse_lines_total"].items()
        }
        files = _by(values, "spoolhouse_files_total", "type")
        return [
            TypeStatus(
                type=name,
                table=self.prefix + event.table.name,
                landed=round(lines.get((name, "landed"), 0)),
                rejected=round(lines.get((name, "rejected"), 0)),
                files=files.get(name, 0),
                held=name in waiting,
            )
            for name, event in self.events.items()
        ]

    def _backlog(self) -> Backlog:
        work = self.work
        oldest = None if work is None else work.in_flight.oldest_ns
        return Backlog(
            pending_files=_value(metrics.PENDING_FILES),
            pending_bytes=_value(metrics.PENDING_BYTES),
            oldest_seconds=0.0 if oldest is None else round(max(0.0, time.time() - oldest / 1e9), 1),
            claimed_files=self._claimed_files(),
            shipments=_value(metrics.IN_FLIGHT),
            unmovable_files=0 if work is None else len(work.settler.stuck),
            held_instances=0 if work is None else len(work.adopter.held),
            ledger_entries=0 if work is None else work.recorder.left,
            unmovable_reason=None if work is None else next((one.reason for one in work.settler.stuck.values()), None),
        )

    def _claimed_files(self) -> int:
        """Count what is claimed and not in its place yet; at most once a second, because there may be many."""
        now = time.monotonic()
        if self.work is not None and now - self._claimed[0] >= _TICK:
            states = [file.state for instance in self.work.instances.values() for file in instance.files.values()]
            self._claimed = (now, len(states) - states.count(FileState.FINAL))
        return self._claimed[1]

    def _rates(self) -> Rates:
        now = _totals()
        first = self._totals[0]
        window = max(now.at - first.at, 1e-3)
        return Rates(
            window=round(window, 1),
            rows=round((now.rows - first.rows) / window, 1),
            bytes=round((now.bytes - first.bytes) / window, 1),
            files=round((now.files - first.files) / window, 2),
        )

    def _tick(self) -> None:
        """Note where things stand, once a second."""
        now = _totals()
        if self._ticks % _POINT_TICKS == 0 and self._totals:
            before = self._totals[max(0, len(self._totals) - _POINT_TICKS)]
            seconds = max(now.at - before.at, 1e-3)
            self._points.append(
                RatePoint(
                    at_ms=time.time_ns() // 1_000_000,
                    rows=round((now.rows - before.rows) / seconds, 1),
                    bytes=round((now.bytes - before.bytes) / seconds, 1),
                    pending_files=_value(metrics.PENDING_FILES),
                    pending_bytes=_value(metrics.PENDING_BYTES),
                )
            )
        self._ticks += 1
        self._totals.append(now)
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)


_Values = Mapping[str, Mapping[Labels, float]]


def _value(metric: Counter | Gauge) -> int:
    """Return the sum of all its values."""
    return round(metric.total)


def _totals() -> _Totals:
    return _Totals(
        at=time.monotonic(), rows=_value(metrics.ROWS), bytes=_value(metrics.BYTES), files=_value(metrics.FILES)
    )


def _sum(values: _Values, name: str) -> int:
    return round(sum(values.get(name, {}).values()))


def _by(values: _Values, name: str, label: str) -> dict[str, int]:
    """Return a metric's values by one label."""
    result: dict[str, int] = {}
    for labels, value in values.get(name, {}).items():
        key = dict(labels)[label]
        result[key] = result.get(key, 0) + round(value)
    return result
