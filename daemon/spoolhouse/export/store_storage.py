"""A store as the storage of `DefaultExporter`: records become rows as the daemon makes them, without a spool.

It needs `spoolhouse[daemon]`. What an exporter has not flushed is lost with its process; through a spool it is not.
"""

import os
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from spoolhouse.decode.line_decoder import LineDecoder
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.origin import Origin
from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError
from spoolhouse.events import registry
from spoolhouse.events.declaration import tables
from spoolhouse.export.settings import settings_of
from spoolhouse.export.storages import (
    REMEMBERED,
    Capabilities,
    Record,
    RejectedRecordsError,
    Strategy,
    by_project,
    spilled,
)
from spoolhouse.producer.encoding import line
from spoolhouse.service.backend import Backend
from spoolhouse.service.options import make_options
from spoolhouse.service.stores import open_backend
from spoolhouse.spool.batch import BatchToLand
from spoolhouse.spool.shipment import Shipment

_of_parents: list[Backend] = []
"""What a forked child has of its parent's stores: freed, they would be closed."""


class StoreStorage:
    """ClickHouse (ended spans alone) or a DuckDB file (newest versions), by its URL.

    A root span is a trace, too. `settings` are others by their dotted names. For use on one event loop.
    """

    capabilities = Capabilities()

    def __init__(self, store: str, *, settings: Mapping[str, object] | None = None) -> None:
        """Check the settings; connect on first use. Raises `BadSettingError`."""
        used = settings_of(store, {"events.traces_from_root_spans": True, **(settings or {})})
        self._events = registry.load(used.events)
        self._tables = tables(self._events)
        options = make_options(used, self._events, once=False)
        self._limits, self._fingerprint = options.shipments.limits, options.fingerprint
        self._open = partial(open_backend, used, fingerprint=self._fingerprint)
        self._backend, self._process = self._open(), os.getpid()
        self._is_used = False
        self._decoder = LineDecoder(self._events)
        self._is_file = is_file = used.store.path is not None
        self.tracing_strategy = (
            Strategy("batch", ("realtime", "batch")) if is_file else Strategy("insert-only", ("insert-only",))
        )
        self._refused: Mapping[str, OperatorError] | None = None
        self._failed: OrderedDict[str, tuple[list[BatchToLand], RejectedRecordsError | None]] = OrderedDict()

    async def init(self) -> None:
        """Bring the schema up to date; the first write does so, too. Raises `StoreError`."""
        if self._process != os.getpid():
            self._leave_to_parent()
        self._is_used = True
        if self._refused is None:
            refused = await self._backend.prepare(self._events)
            self._refused = await self._backend.unsafe_tables(self._events, refused)

    async def batch_create_spans(self, spans: Sequence[Record], *, project: str, batch: str) -> None:
        """Land spans."""
        await self.land("span", spans, project=project, batch=batch)

    async def batch_create_logs(self, logs: Sequence[Record], *, project: str, batch: str) -> None:
        """Land logs."""
        await self.land("log", logs, project=project, batch=batch)

    async def batch_record_metrics(self, metrics: Sequence[Record], *, project: str, batch: str) -> None:
        """Land metrics."""
        await self.land("metric", metrics, project=project, batch=batch)

    async def create_score(self, score: Record, *, project: str, batch: str) -> None:
        """Land a score."""
        await self.land("score", [score], project=project, batch=batch)

    async def create_feedback(self, feedback: Record, *, project: str, batch: str) -> None:
        """Land a piece of feedback."""
        await self.land("feedback", [feedback], project=project, batch=batch)

    async def close(self) -> None:
        """Close the store; in a forked child, leave the parent's as it is."""
        if self._process != os.getpid():
            return
        with suppress(RuntimeError):  # the interpreter ends and executors take no work: the process's end closes it
            await self._backend.close()

    def _leave_to_parent(self) -> None:
        """In a forked child, leave the parent its connections, and open others. Raises `OperatorError` for a file."""
        if self._is_file and self._is_used:
            # DuckDB's library would open nothing: it takes the parent's state of the file, which the child has, too.
            message = "a process that has written to this file has forked this one, which cannot write to it"
            raise OperatorError(message, hint="fork before the first event, or write into a spool")
        _of_parents.append(self._backend)
        self._backend, self._process = self._open(), os.getpid()
        self._refused = None
        self._failed.clear()

    async def land(self, event_type: str, records: Sequence[Record], *, project: str, batch: str) -> None:
        """Land records of one type. Repeated under the same name it lands the same rows, under the same tokens.

        So does a daemon that finds them in a spool, as a file with the name of `spilled`.
        """
        await self.init()
        if batch not in self._failed:
            self._failed[batch] = self._decoded(event_type, records, project, batch)
            while len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)
        batches, rejected = self._failed[batch]
        while batches:
            name = self._backend.store.name(batches[0].table)
            if self._refused and name in self._refused:
                raise self._refused[name]
            await self._backend.store.land(batches[0])
            del batches[0]
        self._failed.pop(batch, None)
        if rejected is not None:
            raise rejected

    def _decoded(
        self, event_type: str, records: Sequence[Record], project: str, batch: str
    ) -> tuple[list[BatchToLand], RejectedRecordsError | None]:
        found, rejects = [], []
        for name, lines in by_project(records, project).items():
            content = b"".join(map(line, lines))
            batch_file = spilled(batch)
            landed_as = batch_file.landed_as(event_type, name, [content])
            clock = landed_as.clock_ms
            shipment = Shipment(
                id=landed_as.shipment,
                instance="",
                type=event_type,
                segments=(),
                clock_ms=clock,
                fingerprint=self._fingerprint,
                limits=self._limits,
            )
            file = f"{event_type}/{name}/{batch_file.file_name}"
            origin = Origin(type=event_type, project=name, policy="trust", clock_ms=clock, file=file)
            decoded = self._decoder.decode(Piece(offset=0, data=content), origin)
            rejects += decoded.rejects
            found += [
                BatchToLand(
                    id=shipment.batch_id(table, 0),
                    table=self._tables[table],
                    shipment=shipment,
                    rows=partial(_opened, rows),
                    may_be_cut=False,
                )
                for table, rows in decoded.rows.items()
            ]
        if not rejects:
            return found, None
        first = rejects[0]
        return found, RejectedRecordsError(len(rejects), f"{first.reason} {first.field} {first.detail}")


async def _each(rows: Rows) -> AsyncIterator[Rows]:
    yield rows


@asynccontextmanager
async def _opened(rows: Rows) -> AsyncIterator[AsyncIterator[Rows]]:
    yield _each(rows)
