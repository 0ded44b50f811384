"""Collects events in memory, and writes them to a storage in batches. The standard library alone.

    exporter = DefaultExporter(StoreStorage("clickhouse://db:9000"), project="shop", spool="/var/spool/events")
    exporter.on_tracing_event({"type": "span_ended", "span": {"id": "s1", "traceId": "t1", …}})
    exporter.shutdown()

Its calls return at once; a thread with an event loop of its own does the writing. A process that is killed loses what
`flush` has not returned for. One that ends without `shutdown` still has some seconds for it.
"""

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401  # its function at the end is to be registered before ours
import logging
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from spoolhouse.export.delivery import SIGNALS, Batch, Delivery, Drop, Signal
from spoolhouse.export.storages import ObservabilityStorage, Record, SpoolStorage, project_of

_log = logging.getLogger(__name__)

_STARTED, _ENDED = "span_started", "span_ended"
_TRACING = frozenset({_STARTED, "span_updated", _ENDED})
_REMEMBERED = 10_000
"""Spans: a start that comes late must not take back what came before it."""
_LAST_MOMENT = 1.0
"""Seconds of `shutdown` in which what is left is spilled."""
_AT_THE_END = 5.0
"""Seconds for what is left when the main thread ends, and again when the interpreter does."""


class DefaultExporter:
    """Writes traces, logs, metrics, scores and feedback to a storage.

    `strategy` is how spans are written (`storages.Strategy`), or `auto`: as the storage prefers; one that it does not
    support is replaced by that, with a warning. A batch is written when `max_batch_size` records of a signal wait, and
    `max_batch_wait_ms` after the first one. A call of the storage that fails is repeated `max_retries` times, after
    `retry_delay_ms`, then twice that, and so on. A batch that it refuses in the end goes into the spool, if one is
    given; else it is dropped, and `on_drop` is called with a `Drop`. So is what comes while `max_buffer_size` records
    wait: with a spool all of them, else the new one.

    `project` is that of records that name none. `sleep` waits between attempts. An event is not taken, and RuntimeError
    raised, where the process may have no more threads. A spilled batch that has landed, and whose answer was lost, is
    landed once: a daemon on the same store knows it by the name of its file.
    """

    def __init__(
        self,
        storage: ObservabilityStorage,
        *,
        project: str = "",
        strategy: str = "auto",
        max_batch_size: int = 1000,
        max_buffer_size: int = 10_000,
        max_batch_wait_ms: float = 5000,
        max_retries: int = 4,
        retry_delay_ms: float = 500,
        spool: Path | str | None = None,
        on_drop: Callable[[Drop], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Start nothing yet. Raises ValueError for a bound below 1."""
        if max_batch_size < 1 or max_buffer_size < 1:
            raise ValueError("max_batch_size and max_buffer_size must be at least 1")
        self._storage, self._project = storage, project
        self._is_spilling = spool is not None
        self._delivery = Delivery(
            storage,
            project,
            spool=None if spool is None else SpoolStorage(spool),
            retries=max_retries,
            delay=retry_delay_ms / 1000,
            on_drop=on_drop,
            sleep=sleep,
        )
        self.strategy = _resolved(storage, strategy)
        self._batch_size = 1 if self.strategy == "realtime" else max_batch_size
        self._max_batch, self._max_buffer, self._wait = max_batch_size, max_buffer_size, max_batch_wait_ms / 1000
        self._start_empty()
        _exporters.add(self)

    def _start_empty(self) -> None:
        self._changed = threading.Condition()
        """Guards all that follows."""
        self._buffers: dict[Signal, OrderedDict[object, Record]] = {signal: OrderedDict() for signal in SIGNALS}
        self._known: OrderedDict[object, bool] = OrderedDict()
        """The last spans, and whether they have ended."""
        self._overflown: Counter[Signal] = Counter()
        """Records dropped since this was last reported."""
        self._oldest: float | None = None
        """When the first of the records that wait came."""
        self._wanted = self._completed = 0
        """Flushes."""
        self._is_closed = False
        self._must_end = False
        """The time of `shutdown` is over."""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[object] | None = None

    def on_tracing_event(self, event: Mapping[str, object]) -> None:
        """Take `{"type": "span_started" | "span_updated" | "span_ended", "span": {…}}` (or `exportedSpan`).

        A span under `exportedSpan` is one of Mastra's, and is kept in its own shape. Raises ValueError for others.
        """
        kind, span = event.get("type"), event.get("span", event.get("exportedSpan"))
        if kind not in _TRACING or not isinstance(span, Mapping):
            raise ValueError("a tracing event has a type (span_started, span_updated, span_ended) and a span")
        if self.strategy == "insert-only" and kind != _ENDED:
            return
        identity = (span.get("traceId", span.get("trace_id")), span.get("id", span.get("spanId", span.get("span_id"))))
        record = dict(span) if "span" in event else dict(event)
        is_merged = self.strategy != "realtime" and None not in identity
        self._add("tracing", record, identity if is_merged else None, str(kind))

    def on_log_event(self, event: Mapping[str, object]) -> None:
        """Take a log, or `{"log": {…}}`."""
        self._add("logs", _inner(event, "log"))

    def on_metric_event(self, event: Mapping[str, object]) -> None:
        """Take a metric, or `{"metric": {…}}`."""
        self._add("metrics", _inner(event, "metric"))

    def on_score_event(self, event: Mapping[str, object]) -> None:
        """Take a score, or `{"score": {…}}`."""
        self._add("scores", _inner(event, "score"))

    def on_feedback_event(self, event: Mapping[str, object]) -> None:
        """Take a piece of feedback, or `{"feedback": {…}}`."""
        self._add("feedback", _inner(event, "feedback"))

    def flush(self, timeout: float = 30.0) -> bool:
        """Write all that was taken; return true once that is stored, spilled or dropped, false if `timeout` is over."""
        with self._changed:
            if self._thread is None:
                return True
            self._wanted += 1
            wanted = self._wanted
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._completed >= wanted, timeout)

    def shutdown(self, timeout: float = 30.0) -> bool:
        """Flush, and take no more. After `timeout` seconds the rest is spilled or dropped; then return false."""
        with self._changed:
            self._is_closed = True
            thread = self._thread
        if thread is None:
            return True
        is_flushed = self.flush(max(0.0, timeout - _LAST_MOMENT))
        with self._changed:
            self._must_end = not is_flushed
            self._changed.notify_all()
            if self._must_end and self._loop is not None and self._task is not None:
                self._loop.call_soon_threadsafe(self._task.cancel)
        thread.join(_LAST_MOMENT)
        return is_flushed

    def _add(self, signal: Signal, record: Record, identity: object = None, kind: str = "") -> None:
        """Put a record into its buffer. A later version of a span is merged with the one that waits."""
        if not self._project and not project_of(record):
            raise ValueError("the event names no project, and the exporter has none")
        with self._changed:
            if self._is_closed:
                raise ValueError("the exporter is shut down")
            self._start()
            buffer, spilled = self._buffers[signal], []
            if identity is not None and self._comes_late(identity, kind, waits=identity in buffer):
                return
            if identity in buffer:
                older, newer = (record, buffer[identity]) if kind == _STARTED else (buffer[identity], record)
                buffer[identity] = {**older, **newer}
                return
            if sum(map(len, self._buffers.values())) >= self._max_buffer:
                if not self._is_spilling:
                    self._overflown[signal] += 1
                    return
                spilled = self._taken()
            buffer[object() if identity is None else identity] = record
            self._wake(is_due=len(buffer) >= self._batch_size)
        for batch in spilled:
            self._delivery.give_up(batch, "buffer-full")

    def _comes_late(self, identity: object, kind: str, *, waits: bool) -> bool:
        """Tell whether a span has ended, or this is its start and more of it was written. Remember the span."""
        ends, is_known, has_ended = kind == _ENDED, identity in self._known, self._known.get(identity, False)
        self._known[identity] = has_ended or ends
        self._known.move_to_end(identity)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return not ends and (has_ended or (kind == _STARTED and is_known and not waits))

    def _start(self) -> None:
        """Start the thread, if there is none. Raises RuntimeError if there can be none; the next call tries again."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="spoolhouse-export", daemon=True)
            thread.start()
            self._thread = thread

    def _wake(self, *, is_due: bool) -> None:
        """Have the thread look, if a batch is full or the first record waits."""
        if self._oldest is None:
            self._oldest = time.monotonic()
            is_due = True
        if is_due:
            self._changed.notify_all()

    def _work(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        with self._changed:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            if self._must_end and self._task is not None:
                self._task.cancel()
        try:
            while True:
                # It blocks the loop, which is this thread's own: between two batches nothing else is to be done. So a
                # cancellation cannot come between the taking of records and their sending.
                wanted, batches = self._next()
                await self._send_all(batches)
                self._report_overflow()
                with self._changed:
                    self._completed = max(self._completed, wanted)
                    self._changed.notify_all()
                    if self._is_closed and not any(self._buffers.values()):
                        break
        finally:
            with self._changed:
                left = self._taken()
                self._loop = self._task = self._thread = None
            for batch in left:
                self._delivery.give_up(batch, "shutdown")
            self._report_overflow()
            with self._changed:  # a flush may have begun after the last batch was taken: nothing is left for it
                self._completed = self._wanted
                self._changed.notify_all()
            await self._storage.close()

    async def _send_all(self, batches: list[Batch]) -> None:
        """Write batches; cancelled, spill or drop the rest of them."""
        for number, batch in enumerate(batches):
            try:
                await self._delivery.send(batch)
            except asyncio.CancelledError:
                for rest in batches[number:]:
                    self._delivery.give_up(rest, "shutdown")
                raise

    def _next(self) -> tuple[int, list[Batch]]:
        """Wait until a batch is full or old enough, or a flush is wanted; return all that waits."""
        with self._changed:
            while not self._is_due():
                left = None if self._oldest is None else self._oldest + self._wait - time.monotonic()
                self._changed.wait(left)
            return self._wanted, self._taken()

    def _is_due(self) -> bool:
        if self._wanted > self._completed or self._is_closed:
            return True
        if any(len(buffer) >= self._batch_size for buffer in self._buffers.values()):
            return True
        return self._oldest is not None and time.monotonic() >= self._oldest + self._wait

    def _taken(self) -> list[Batch]:
        """Take all records out of the buffers, as batches."""
        batches: list[Batch] = []
        for signal, buffer in self._buffers.items():
            records = list(buffer.values())
            buffer.clear()
            size = 1 if signal in {"scores", "feedback"} else self._max_batch
            batches += [Batch(signal, records[start : start + size]) for start in range(0, len(records), size)]
        self._oldest = None
        return batches

    def _report_overflow(self) -> None:
        with self._changed:
            overflown, self._overflown = self._overflown, Counter()
        for signal, count in overflown.items():
            self._delivery.drop(signal, "buffer-full", count)

    def leave_to_parent(self) -> None:
        """In a forked child, forget what the parent has taken and will write."""
        self._start_empty()


def _resolved(storage: ObservabilityStorage, strategy: str) -> str:
    preferred, supported = storage.tracing_strategy
    if strategy in {"auto", *supported}:
        return preferred if strategy == "auto" else strategy
    _log.warning("the storage does not support the strategy %r: %r is used", strategy, preferred)
    return preferred


def _inner(event: Mapping[str, object], name: str) -> Record:
    inner = event.get(name)
    return inner if isinstance(inner, Mapping) else event


_exporters: WeakSet[DefaultExporter] = WeakSet()


def _is_forked() -> None:
    for exporter in list(_exporters):
        exporter.leave_to_parent()


def _threads_are_ending() -> None:
    for exporter in list(_exporters):
        exporter.flush(_AT_THE_END)


def _is_ending() -> None:
    for exporter in list(_exporters):
        exporter.shutdown(_AT_THE_END)


os.register_at_fork(after_in_child=_is_forked)
# When `atexit` calls, executors take no work any more, DuckDB's among them: what waits is written before. The import of
# `concurrent.futures.thread` registers their end in the same list, whose last function is the first one called. What
# threads of the program add after that is written at exit; over DuckDB it goes into the spool, or is dropped.
getattr(threading, "_register_atexit", atexit.register)(_threads_are_ending)
atexit.register(_is_ending)
