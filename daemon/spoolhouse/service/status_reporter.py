"""Builds the status of a running daemon on request. It owns the history of rates, and nothing else.

Counts come from the metrics, states from the parts that have them. The cost does not depend on the backlog.
"""

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import Mapping

from msgspec import Struct, field, structs

from spoolhouse import __version__
from spoolhouse.clock import now_ms
from spoolhouse.monitoring import metrics
from spoolhouse.monitoring.counters import Counter, Gauge, Labels
from spoolhouse.monitoring.logs import HIDDEN, printable
from spoolhouse.monitoring.loop_lag import LoopLagMonitor
from spoolhouse.monitoring.status_line import status_line
from spoolhouse.monitoring.status_model import (
    Backlog,
    Liveness,
    RatePoint,
    Rates,
    Readiness,
    Status,
    Trouble,
    TypeStatus,
    judge,
)
from spoolhouse.service.shared import Shared
from spoolhouse.service.wiring import Stages
from spoolhouse.spool.journal_files import FileState

_TICK = 1.0
_RATE_TICKS = 10
"""Seconds that rates are averaged over."""
_POINT_TICKS = 5
_COUNT_SHARE = 50
"""A count of files is good for so many times as long as it took."""
_POINTS = 180
"""A quarter of an hour in the chart."""


class _Totals(Struct, frozen=True, kw_only=True):
    """The totals at a moment (monotonic)."""

    at: float
    rows: float
    bytes: float
    files: float


class StatusReporter(Struct, kw_only=True, eq=False):
    """Reports one run, from before ClickHouse is first asked to its end. Made in the running loop."""

    shared: Shared
    stages: Stages | None = None
    """None until the spool can be used."""
    loop_lag: LoopLagMonitor = field(default_factory=LoopLagMonitor)
    _started_ms: int = field(default_factory=now_ms)
    _ticks: int = 0
    _totals: deque[_Totals] = field(default_factory=lambda: deque(maxlen=_RATE_TICKS + 1))
    _points: deque[RatePoint] = field(default_factory=lambda: deque(maxlen=_POINTS))
    _timer: asyncio.TimerHandle | None = None
    _claimed: tuple[float, int] = (0.0, 0)
    """Until when the count of claimed files is good (monotonic), and that count."""

    def __post_init__(self) -> None:
        """Begin to measure."""
        for name, event in self.shared.events.items():
            # A series that is not there before its first event hides that event from rate().
            metrics.LINES.labels(name, "landed")
            metrics.LINES.labels(name, "rejected")
            metrics.FILES.labels(name, "processed")
            metrics.FILES.labels(name, "failed")
            for part in event.parts:
                metrics.ROWS.labels(self.prefix + part.table.name)
        self._tick()

    @property
    def prefix(self) -> str:
        """What the names of the tables begin with."""
        return self.shared.settings.clickhouse.insert_prefix

    def close(self) -> None:
        """End the measurement."""
        self.loop_lag.stop()
        if self._timer is not None:
            self._timer.cancel()

    def liveness(self) -> Liveness:
        """Return whether all stages make progress."""
        stuck = self.shared.heartbeat.stuck()
        return Liveness(alive=not stuck, stuck={stage: round(seconds, 1) for stage, seconds in stuck.items()})

    def readiness(self) -> Readiness:
        """Return whether ClickHouse takes rows of all types, and this daemon too."""
        state = "stopping" if self.shared.stop.is_set() else "running" if self.shared.health.answered else "starting"
        if state == "running" and self._paused() is not None:
            state = "paused"
        reasons = [self._concealed(trouble) for trouble in self.shared.health.reasons(self._types())]
        # A ledger that is behind keeps no row out.
        waiting = any(trouble.types for trouble in reasons)
        # A pause is wanted: it should cause no restart and no alarm.
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
        metrics.STUCK_STAGES.set(len(self.shared.heartbeat.stuck()))
        from spoolhouse.monitoring import exposition  # noqa: PLC0415  # it is there already where there is an HTTP server

        return exposition.text()

    def line(self) -> str:
        """Return the status as one sentence."""
        return status_line(self.status())

    def status(self) -> Status:
        """Return everything."""
        values = metrics.read()
        readiness, liveness, paused = self.readiness(), self.liveness(), self._paused()
        state, why = judge(readiness, liveness, paused)
        last = values["spoolhouse_last_landed_timestamp_seconds"][()]
        return Status(
            state=state,
            why=why,
            grace=self.shared.settings.shutdown.grace,
            version=__version__,
            instance=self.stages.instance.id if self.stages is not None else None,
            pid=os.getpid(),
            host=socket.gethostname(),
            spool=printable(self.shared.settings.spool.root),
            at_ms=now_ms(),
            started_ms=self._started_ms,
            readiness=readiness,
            liveness=liveness,
            backlog=self._backlog(),
            rates=self._rates(),
            loop_lag=round(self.loop_lag.longest, 3),
            paused=paused,
            last_landed_ms=round(last * 1000) or None,
            bytes=_sum(values, "spoolhouse_read_bytes_total"),
            files=_by(values, "spoolhouse_files_total", "outcome"),
            types=self._by_type(values, readiness),
            rejects=_by(values, "spoolhouse_rejects_total", "reason"),
            retries=_by(values, "spoolhouse_retries_total", "code"),
            adoptions=_sum(values, "spoolhouse_adoptions_total"),
            recent_files=list(reversed(self.shared.recent.files)),
            recent_rejects=list(reversed(self.shared.recent.rejects)),
            history=list(self._points),
            servers={
                dict(labels)["server"]: value > 0 for labels, value in values.get("spoolhouse_server_up", {}).items()
            },
        )

    def _paused(self) -> str | None:
        return None if self.stages is None else self.stages.gate.paused

    def _types(self) -> dict[str, list[str]]:
        """Return the event types of each table."""
        types: dict[str, list[str]] = {}
        for name, event in self.shared.events.items():
            for part in event.parts:
                types.setdefault(self.prefix + part.table.name, []).append(name)
        return types

    def _concealed(self, trouble: Trouble) -> Trouble:
        """Return it without a secret, even if ClickHouse's own words should hold one."""

        def shown(text: str) -> str:
            for secret in self.shared.settings.secrets():
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
        unknown_lines = _by(values, "spoolhouse_unknown_field_lines_total", "type")
        converted_lines = _by(values, "spoolhouse_converted_lines_total", "type")
        unknown = _names_by_type(values, "spoolhouse_unknown_fields_total")
        converted = _names_by_type(values, "spoolhouse_conversions_total")
        shapes = _names_by_type(values, "spoolhouse_foreign_lines_total")
        return [
            TypeStatus(
                type=name,
                table=self.prefix + event.table.name,
                landed=round(lines.get((name, "landed"), 0)),
                rejected=round(lines.get((name, "rejected"), 0)),
                files=files.get(name, 0),
                held=name in waiting,
                unknown_lines=unknown_lines.get(name, 0),
                unknown=unknown.get(name, {}),
                converted_lines=converted_lines.get(name, 0),
                converted=converted.get(name, {}),
                shapes=shapes.get(name, {}),
            )
            for name, event in self.shared.events.items()
        ]

    def _backlog(self) -> Backlog:
        stages = self.stages
        oldest = None if stages is None else stages.in_flight.oldest_ns
        return Backlog(
            pending_files=_value(metrics.PENDING_FILES),
            pending_bytes=_value(metrics.PENDING_BYTES),
            oldest_seconds=0.0 if oldest is None else round(max(0.0, time.time() - oldest / 1e9), 1),
            claimed_files=self._claimed_files(),
            shipments=_value(metrics.IN_FLIGHT),
            unmovable_files=0 if stages is None else len(stages.settler.stuck),
            held_instances=0 if stages is None else len(stages.adopter.held),
            ledger_entries=0 if stages is None else stages.recorder.left,
            unmovable_reason=None
            if stages is None
            else next((one.reason for one in stages.settler.stuck.values()), None),
            not_taken_files=0 if stages is None else stages.in_flight.not_taken,
            not_taken=[] if stages is None else stages.in_flight.not_taken_named,
            unwatched="" if stages is None else stages.in_flight.unwatched,
        )

    def _claimed_files(self) -> int:
        """Count the claimed files that are not settled: there may be many, so the less often the longer it takes."""
        now = time.monotonic()
        if self.stages is not None and now >= self._claimed[0]:
            instances = list(self.stages.instances.values())
            states = [file.state for instance in instances for file in list(instance.files.values())]
            count = len(states) - states.count(FileState.FINAL)
            self._claimed = (now + _COUNT_SHARE * (time.monotonic() - now), count)
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
                    at_ms=now_ms(),
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


def _names_by_type(values: _Values, name: str) -> dict[str, dict[str, int]]:
    """Return the counts of a metric whose labels are a type and a name: by both, the highest first."""
    result: dict[str, dict[str, int]] = {}
    for labels, value in sorted(values.get(name, {}).items(), key=lambda one: -one[1]):
        (_, kind), (_, named) = labels
        result.setdefault(kind, {})[named] = round(value)
    return result


def _by(values: _Values, name: str, label: str) -> dict[str, int]:
    """Return a metric's values by one label."""
    result: dict[str, int] = {}
    for labels, value in values.get(name, {}).items():
        key = dict(labels)[label]
        result[key] = result.get(key, 0) + round(value)
    return result
