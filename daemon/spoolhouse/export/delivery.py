"""Delivers a batch: to the storage, after errors again; else into the spool; else it is dropped, and that is reported.

The standard library alone.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Literal

from spoolhouse.export.storages import (
    ObservabilityStorage,
    Record,
    RejectedRecordsError,
    SpoolStorage,
    new_batch,
    project_of,
)

_log = logging.getLogger(__name__)

Signal = Literal["tracing", "logs", "metrics", "scores", "feedback"]
SIGNALS: tuple[Signal, ...] = ("tracing", "logs", "metrics", "scores", "feedback")
Reason = Literal["unsupported-storage", "retry-exhausted", "buffer-full", "rejected", "shutdown"]

_TYPES: dict[Signal, str] = {
    "tracing": "span", "logs": "log", "metrics": "metric", "scores": "score", "feedback": "feedback",
}  # fmt: skip


class Drop:
    """Records that are lost."""

    __slots__ = ("count", "reason", "signal")

    def __init__(self, signal: Signal, reason: Reason, count: int) -> None:
        """Say of which signal, why, and how many."""
        self.signal, self.reason, self.count = signal, reason, count

    def __repr__(self) -> str:
        return f"Drop({self.signal!r}, {self.reason!r}, {self.count})"


class Batch:
    """Records of one signal that are written by one call."""

    __slots__ = ("name", "records", "signal")

    def __init__(self, signal: Signal, records: list[Record]) -> None:
        """Hold the records; the batch has no name yet."""
        self.signal, self.records = signal, records
        self.name = ""
        """The name under which the storage gets the batch; empty before its first attempt."""


class Delivery:
    """Delivers the batches of an exporter. `delay` is in seconds, and doubles with each attempt."""

    def __init__(
        self,
        storage: ObservabilityStorage,
        project: str,
        *,
        spool: SpoolStorage | None,
        retries: int,
        delay: float,
        on_drop: Callable[[Drop], None] | None,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """Deliver to `storage`, and what it does not take to `spool`; `project` is that of records that name none."""
        self._storage, self._project, self._spool = storage, project, spool
        self._retries, self._delay, self._on_drop, self._sleep = retries, delay, on_drop, sleep

    async def send(self, batch: Batch) -> None:
        """Write a batch, after errors again; in the end spill or drop it. After a cancellation the caller does that."""
        signal = batch.signal
        if not getattr(self._storage.capabilities, signal):
            self.give_up(batch, "unsupported-storage")
            return
        batch.name = new_batch()
        for attempt in range(self._retries + 1):
            try:
                await self._call(batch)
            except RejectedRecordsError as error:
                _log.warning("%s: %s", signal, error)
                self.drop(signal, "rejected", error.count)
                return
            except ValueError as error:
                _log.warning("%s: %s", signal, error)
                self.give_up(batch, "rejected")
                return
            except Exception as error:  # noqa: BLE001  # whatever a storage raises
                _log.warning("%s: attempt %s of %s: %s", signal, attempt + 1, self._retries + 1, error)
                if attempt < self._retries:
                    await self._sleep(self._delay * 2**attempt)
            else:
                return
        self.give_up(batch, "retry-exhausted")

    async def _call(self, batch: Batch) -> None:
        storage, project, records, name = self._storage, self._project, batch.records, batch.name
        match batch.signal:
            case "tracing":
                await storage.batch_create_spans(records, project=project, batch=name)
            case "logs":
                await storage.batch_create_logs(records, project=project, batch=name)
            case "metrics":
                await storage.batch_record_metrics(records, project=project, batch=name)
            case "scores":
                await storage.create_score(records[0], project=project, batch=name)
            case "feedback":
                await storage.create_feedback(records[0], project=project, batch=name)

    def give_up(self, batch: Batch, reason: Reason) -> None:
        """Put a batch into the spool, where there is one; drop the records that are not in it.

        It keeps its name there: if it has landed, and the answer was lost, it does not land again.
        """
        signal, records = batch.signal, batch.records
        done = self._storage.forget(batch.name) if isinstance(self._storage, SpoolStorage) else set()
        if self._spool is not None:
            try:
                self._spool.write(_TYPES[signal], records, self._project, done, batch=batch.name)
            except (OSError, ValueError) as error:
                _log.warning("%s: the spool refuses, too: %s", signal, error)
            else:
                return
        self.drop(signal, reason, sum((project_of(record) or self._project) not in done for record in records))

    def drop(self, signal: Signal, reason: Reason, count: int) -> None:
        """Report records that are lost."""
        _log.error("%s records of %s are dropped: %s", count, signal, reason)
        if self._on_drop is not None:
            try:
                self._on_drop(Drop(signal, reason, count))
            except Exception:  # noqa: BLE001  # the program's own function; the exporter goes on
                _log.exception("on_drop has failed")
