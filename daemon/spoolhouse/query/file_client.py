"""Asks a database in a file that one process has at a time: the file itself, or the daemon that has it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from spoolhouse.errors import InUseError, OperatorError, UnreachableError
from spoolhouse.query import daemon_file, plan, requests, results, wire
from spoolhouse.query.aliases import Client
from spoolhouse.query.client import Project
from spoolhouse.query.daemon import Daemon, MissingError
from spoolhouse.query.ports import Reader
from spoolhouse.query.questions import Row
from spoolhouse.query.records import Delta, Event, FiguresAnswer, Page, Run, Span, Step, Trace, TraceView
from spoolhouse.query.requests import Figures, ListQuestion, Values, When

T = TypeVar("T")

_PATIENCE = 1.0
"""Seconds in which a daemon that has opened the file says where it answers, or one that has ended closes it."""
_AGAIN = 0.1


class FileClient(Client):
    """`Client` of a file. Whether the file or a daemon is asked is decided anew for each question."""

    def __init__(self, reader: Reader, database: Path, table_prefix: str) -> None:
        """Ask the file `database` with `reader`, or the daemon that has it."""
        super().__init__(reader)
        self._database = database
        self._prefix = table_prefix

    async def _either(self, of_daemon: Callable[[Daemon], Awaitable[T]], of_file: Callable[[], Awaitable[T]]) -> T:
        path, give_up_at = daemon_file.beside(self._database), time.monotonic() + _PATIENCE
        while True:
            way = await asyncio.to_thread(daemon_file.read, path)
            try:
                if way is not None:
                    self._check(way.table_prefix)
                    return await of_daemon(Daemon(way))
            except UnreachableError:
                pass  # it was killed, or is ending
            try:
                return await of_file()
            except InUseError as error:
                if time.monotonic() > give_up_at:
                    if way is None and path.exists():
                        hint = f"ask as the daemon's user, who may read {path}"
                        raise InUseError(error.message, hint=hint) from None
                    raise
            await asyncio.sleep(_AGAIN)

    def _check(self, prefix: str) -> None:
        if prefix != self._prefix:
            message = f"the daemon that has {self._database} uses tables {prefix}*, and not {self._prefix}*"
            raise OperatorError(message, hint="set the same clickhouse.table_prefix")

    async def page_at(
        self, name: str, question: ListQuestion, *, cursor: str | None = None, offset: int = 0
    ) -> Page[Any]:
        """Return one page of a list, after so many records."""
        plan.listing(name, question, self._now_ms())  # what is not accepted is not sent

        async def of_daemon(daemon: Daemon) -> Page[Any]:
            fields = {**wire.fields_of(question), "cursor": cursor, "offset": offset, "lines": not question.light}
            found = await daemon.ask(wire.PAGE_ROUTES[name], fields, wire.PAGES[name])
            return Page(records=found.records, cursor=found.cursor, lines=[bytes(line) for line in found.lines])

        return await self._either(of_daemon, partial(super().page_at, name, question, cursor=cursor, offset=offset))

    async def delta(
        self, name: str, request: ListQuestion | None = None, /, *, after: str | None = None, **filters: Any
    ) -> Delta[Any]:
        """Return what has landed since the delta whose cursor is `after`."""
        question = requests.request(name, filters) if request is None else request
        plan.listing(name, question, self._now_ms())

        async def of_daemon(daemon: Daemon) -> Delta[Any]:
            fields = {**wire.fields_of(question), "after": after, "lines": True}
            found = await daemon.ask(f"{name}/delta", fields, wire.PAGES[name])
            lines = [bytes(line) for line in found.lines]
            return Delta(records=found.records, cursor=found.cursor or "", has_more=found.truncated, lines=lines)

        return await self._either(of_daemon, partial(super().delta, name, question, after=after))

    async def count(self, name: str, request: ListQuestion | None = None, /, **filters: Any) -> int:
        """Return how many records a list has."""
        question = requests.request(name, filters) if request is None else request
        plan.listing(name, question, self._now_ms())

        async def of_daemon(daemon: Daemon) -> int:
            return (await daemon.ask(f"{name}/count", wire.fields_of(question), wire.CountAnswer)).count

        return await self._either(of_daemon, partial(super().count, name, question))

    async def trace(self, project: Project, trace_id: str) -> TraceView | None:
        """Return a trace with its spans, logs, scores and feedback; None if there is nothing of it in the project."""

        async def of_daemon(daemon: Daemon) -> TraceView | None:
            fields = {**wire.in_scope(project), "trace_id": trace_id, "lines": True}
            try:
                found = await daemon.ask("trace", fields, wire.TraceAnswer)
            except MissingError:
                return None
            parts = {name: getattr(found, name) for name in found.__struct_fields__ if name != "lines"}
            return TraceView(**parts, lines=[bytes(line) for line in found.lines])

        return await self._either(of_daemon, partial(super().trace, project, trace_id))

    async def get_trace(self, project: Project, trace_id: str) -> Trace | None:
        """Return a trace, or None."""

        async def of_daemon(daemon: Daemon) -> Trace | None:
            fields = {**wire.in_scope(project), "trace_id": trace_id}
            try:
                return (await daemon.ask("trace", fields, wire.TraceAnswer)).trace
            except MissingError:
                return None

        return await self._either(of_daemon, partial(super().get_trace, project, trace_id))

    async def structure(self, project: Project, trace_id: str) -> list[Span]:
        """Return the spans of a trace without their attributes and events, by start."""
        fields = {**wire.in_scope(project), "trace_id": trace_id}
        return await self._either(self._spans("structure", fields), partial(super().structure, project, trace_id))

    async def branch(self, project: Project, trace_id: str, span_id: str, *, depth: int | None = None) -> list[Span]:
        """Return a span and what is below it, `depth` levels (0: itself alone), by start; [] if it is missing."""
        fields = {**wire.in_scope(project), "trace_id": trace_id, "span_id": span_id, "depth": depth}
        local = partial(super().branch, project, trace_id, span_id, depth=depth)
        return await self._either(self._spans("branch", fields), local)

    async def get_spans(self, project: Project, trace_id: str, span_ids: Sequence[str]) -> list[Span]:
        """Return those spans of a trace, by start."""
        fields = {**wire.in_scope(project), "trace_id": trace_id, "span_ids": span_ids}
        local = partial(super().get_spans, project, trace_id, span_ids)
        return await self._either(self._spans("trace/spans", fields), local)

    async def get_spans_for_trace(self, project: Project, trace_id: str) -> list[Span]:
        """Return the spans of a trace, by start."""
        fields = {**wire.in_scope(project), "trace_id": trace_id}
        local = partial(super().get_spans_for_trace, project, trace_id)
        return await self._either(self._spans("trace/spans", fields), local)

    def _spans(self, route: str, fields: wire.Fields) -> Callable[[Daemon], Awaitable[list[Span]]]:
        async def of_daemon(daemon: Daemon) -> list[Span]:
            return (await daemon.ask(route, fields, wire.SpansAnswer)).spans

        return of_daemon

    async def event(self, project: Project, event_id: str) -> Event | None:
        """Return one event of an agent, or None."""

        async def of_daemon(daemon: Daemon) -> Event | None:
            try:
                return await daemon.ask("event", {**wire.in_scope(project), "event_id": event_id}, Event)
            except MissingError:
                return None

        return await self._either(of_daemon, partial(super().event, project, event_id))

    async def steps(self, project: Project, run_id: str) -> list[Step]:
        """Return the steps of a run, by number: the workflow of an agent."""

        async def of_daemon(daemon: Daemon) -> list[Step]:
            fields = {**wire.in_scope(project), "run_id": run_id}
            return (await daemon.ask("steps", fields, wire.StepsAnswer)).steps

        return await self._either(of_daemon, partial(super().steps, project, run_id))

    async def runs(
        self, *, project: Project, since: When = None, until: When = None, limit: int = 50, **filters: Any
    ) -> AsyncGenerator[Run]:
        """Yield the runs of agents, the latest first; the filters are those of `requests.Events`."""
        asked = {"project": project, "since": since, "until": until, "limit": limit, **filters}
        question = requests.request("events", asked)
        plan.listing("events", question, self._now_ms())
        listed = super().runs

        async def of_daemon(daemon: Daemon) -> list[Run]:
            return (await daemon.ask("runs", wire.fields_of(question), wire.RunsAnswer)).runs

        async def of_file() -> list[Run]:
            return [run async for run in listed(**asked)]

        for run in await self._either(of_daemon, of_file):
            yield run

    async def figures(self, signal: str, request: Figures | None = None, /, **asked: Any) -> FiguresAnswer:
        """Return figures of a signal; see `requests.Figures`. Other keywords are filters of that signal's list."""
        question = results.figures_request(signal, asked) if request is None else request
        plan.figures(question, self._now_ms(), has_rollups=False)

        async def of_daemon(daemon: Daemon) -> FiguresAnswer:
            return await daemon.ask("figures", wire.fields_of(question), FiguresAnswer)

        return await self._either(of_daemon, partial(super().figures, signal, question))

    async def values(self, what: str, request: Values | None = None, /, **asked: Any) -> list[str]:
        """Return the different values that occur: names, label_keys, label_values, services, models and so on."""
        question = Values(what=what, **asked) if request is None else request
        plan.values(question, self._now_ms())

        async def of_daemon(daemon: Daemon) -> list[str]:
            return (await daemon.ask("values", wire.fields_of(question), wire.ValuesAnswer)).values

        return await self._either(of_daemon, partial(super().values, what, question))

    async def sql(self, text: str, *, limit: int = 1000) -> tuple[Sequence[str], list[Row]]:
        """Run a SELECT of your own; return the names of its columns, and its rows."""

        async def of_daemon(daemon: Daemon) -> tuple[Sequence[str], list[Row]]:
            found = await daemon.ask("sql", {"statement": text, "limit": limit}, wire.SqlAnswer)
            return found.columns, found.rows

        return await self._either(of_daemon, partial(super().sql, text, limit=limit))
