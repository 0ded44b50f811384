"""What each route of the API answers: the bytes of a question in, the bytes of its answer out.

All of it runs where the questions are answered, away from the server's event loop.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from spoolhouse.api.access import ForbiddenError, Projects
from spoolhouse.errors import BadRequestError, SpoolhouseError
from spoolhouse.query import plan, wire
from spoolhouse.query.aliases import Client
from spoolhouse.query.records import Event, FiguresAnswer
from spoolhouse.query.requests import ALL_PROJECTS, LISTS, Figures, ListQuestion, Values
from spoolhouse.query.wire import Fields, Paging

Answer = Callable[[Client, Fields], Awaitable[object]]


class Landed(Struct, frozen=True, kw_only=True):
    """What has landed in a list, as a message of a stream."""

    cursor: str
    has_more: bool
    message: bytes
    """Empty: nothing has landed."""


class MissingError(SpoolhouseError):
    """There is nothing of that id in the project."""


async def answer(route: str, client: Client, body: bytes, projects: Projects = None) -> bytes:
    """Return the answer to a question on a route of `QUESTIONS`, of somebody who may ask about these projects.

    Raises `SpoolhouseError`.
    """
    fields = _fields(body)
    if projects is not None:
        if route == "projects":
            return msgspec.json.encode(wire.ValuesAnswer(values=sorted(projects)))
        _check_scope(route, fields, projects)
    return msgspec.json.encode(await QUESTIONS[route].answer(client, fields))


async def landed(name: str, client: Client, body: bytes, projects: Projects, after: str | None) -> Landed:
    """Return what has landed in a list since the cursor `after`; without it, since the `after` of the question.

    Without either, return the cursor of now: from it on, all that lands can be asked for.

    Raises `SpoolhouseError`.
    """
    fields = _fields(body)
    if projects is not None:
        _check_scope(name, fields, projects)
    since = after or fields.get("after")
    page = await _delta(name, client, {**fields, "after": since})
    cursor = str(page.cursor)
    # The first message has no records: its id says where "now" is. The only line break
    # in its JSON is the space between the words of a line as it was written; each would end the data.
    data = msgspec.json.encode(page).replace(b"\r", b" ").replace(b"\n", b" ")
    message = b"id: %b\ndata: %b\n\n" % (cursor.encode(), data)
    return Landed(cursor=cursor, has_more=page.truncated, message=message if page.records or since is None else b"")


def _fields(body: bytes) -> Fields:
    try:
        return msgspec.json.decode(body or b"{}", type=Fields)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise BadRequestError(f"the question is no JSON object: {error}") from None


def _check_scope(route: str, fields: Fields, projects: frozenset[str]) -> None:
    """Raise `ForbiddenError` unless a question is about one of these projects alone."""
    project = fields.get("project")
    if route == "sql":
        raise ForbiddenError("SQL sees all projects; it needs a token for all of them")
    if not isinstance(project, str) or project not in projects or fields.get("all_projects"):
        raise ForbiddenError(f"this token is for other projects; it accepts {', '.join(sorted(projects))}")


def _listed(name: str, fields: Fields) -> tuple[ListQuestion, Paging]:
    own = {key: fields.pop(key) for key in Paging.__struct_fields__ if key in fields}
    return wire.question(LISTS[name], fields), wire.converted(own, Paging)


def _raw(lines: list[bytes], *, wanted: bool) -> list[Raw]:
    return [Raw(line) for line in lines] if wanted else []


async def _page(name: str, client: Client, fields: Fields) -> object:
    question, paging = _listed(name, fields)
    offset = plan.check_offset(paging.offset, plan.page_size(question))
    page = await client.page_at(name, question, cursor=paging.cursor, offset=offset)
    lines = _raw(page.lines, wanted=paging.lines)
    return wire.PageAnswer(records=page.records, cursor=page.cursor, truncated=page.truncated, lines=lines)


async def _delta(name: str, client: Client, fields: Fields) -> wire.PageAnswer[Any]:
    question, paging = _listed(name, fields)
    delta = await client.delta(name, question, after=paging.after)
    lines = _raw(delta.lines, wanted=paging.lines)
    return wire.PageAnswer(records=delta.records, cursor=delta.cursor, truncated=delta.has_more, lines=lines)


async def _count(name: str, client: Client, fields: Fields) -> object:
    return wire.CountAnswer(count=await client.count(name, wire.question(LISTS[name], fields)))


async def _runs(client: Client, fields: Fields) -> object:
    question = wire.question(LISTS["events"], fields)
    asked = {key: getattr(question, key) for key in fields if key != "all_projects"}
    return wire.RunsAnswer(runs=[run async for run in client.runs(**{**asked, "project": question.project})])


async def _trace(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.TraceAsked)
    found = await client.trace(asked.scope, asked.trace_id)
    if found is None:
        raise MissingError(f"no trace {asked.trace_id[:60]!r} in this project")
    parts = {name: getattr(found, name) for name in found.__struct_fields__ if name != "lines"}
    return wire.TraceAnswer(**parts, lines=_raw(found.lines, wanted=asked.lines))


async def _structure(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.TraceAsked)
    return wire.SpansAnswer(spans=await client.structure(asked.scope, asked.trace_id))


async def _spans_of_trace(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.SpansAsked)
    if asked.span_ids is None:
        return wire.SpansAnswer(spans=await client.get_spans_for_trace(asked.scope, asked.trace_id))
    plan.check_limit(max(len(asked.span_ids), 1), wire.MOST_IDS, name="span_ids")
    return wire.SpansAnswer(spans=await client.get_spans(asked.scope, asked.trace_id, asked.span_ids))


async def _branch(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.BranchAsked)
    spans = await client.branch(asked.scope, asked.trace_id, asked.span_id, depth=asked.depth)
    return wire.SpansAnswer(spans=spans)


async def _event(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.EventAsked)
    found = await client.event(asked.scope, asked.event_id)
    if found is None:
        raise MissingError(f"no event {asked.event_id[:60]!r} in this project")
    return found


async def _steps(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.StepsAsked)
    return wire.StepsAnswer(steps=await client.steps(asked.scope, asked.run_id))


async def _figures(client: Client, fields: Fields) -> object:
    question = wire.question(Figures, {"signal": "", **fields})
    return await client.figures(question.signal, question)


async def _values(client: Client, fields: Fields) -> object:
    question = wire.question(Values, {"what": "", **fields})
    return wire.ValuesAnswer(values=await client.values(question.what, question))


async def _projects(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.ProjectsAsked)
    found: set[str] = set()
    for signal in ("trace", "event", "log", "metric"):
        answer = await client.figures(signal, project=ALL_PROJECTS, since=asked.since, by=("project_id",))
        found |= {str(row.by["project_id"]) for row in answer.rows}
    return wire.ValuesAnswer(values=sorted(found))


async def _sql(client: Client, fields: Fields) -> object:
    asked = wire.converted(fields, wire.SqlAsked)
    columns, rows = await client.sql(asked.statement, limit=asked.limit)
    return wire.SqlAnswer(columns=list(columns), rows=rows)


class Question(Struct, frozen=True):
    """What a route answers, and the types of its JSON."""

    summary: str
    answer: Answer
    asked: type[Struct]
    """The type of the question's JSON, as the OpenAPI document describes it."""
    gives: type[Struct]
    may_miss: bool = False
    """Whether it answers 404 where nothing has the id that it asks for."""


def _of_list(name: str) -> dict[str, Question]:
    kind, gives = LISTS[name], wire.PAGES[name]
    paged = wire.described(kind, wire.Paging)
    return {
        wire.PAGE_ROUTES[name]: Question(f"A page of {name}", partial(_page, name), paged, gives),
        f"{name}/delta": Question(f"What has landed of {name} since a cursor", partial(_delta, name), paged, gives),
        f"{name}/count": Question(
            f"How many {name} there are", partial(_count, name), wire.described(kind), wire.CountAnswer
        ),
    }


_SINGLE: Mapping[str, Question] = {
    "runs": Question("Runs of agents", _runs, wire.described(LISTS["events"]), wire.RunsAnswer),
    "trace": Question("A trace with all that belongs to it", _trace, wire.TraceAsked, wire.TraceAnswer, may_miss=True),
    "trace/spans": Question("Spans of a trace", _spans_of_trace, wire.SpansAsked, wire.SpansAnswer),
    "structure": Question(
        "The spans of a trace without their long columns", _structure, wire.TraceAsked, wire.SpansAnswer
    ),
    "branch": Question("A span and what is below it", _branch, wire.BranchAsked, wire.SpansAnswer),
    "event": Question("One event of an agent", _event, wire.EventAsked, Event, may_miss=True),
    "steps": Question("The steps of a run", _steps, wire.StepsAsked, wire.StepsAnswer),
    "figures": Question("Figures of a signal, by group and interval", _figures, wire.described(Figures), FiguresAnswer),
    "values": Question("The different values that occur", _values, wire.described(Values), wire.ValuesAnswer),
    "projects": Question("The projects that may be asked about", _projects, wire.ProjectsAsked, wire.ValuesAnswer),
    "sql": Question("One SELECT of your own", _sql, wire.SqlAsked, wire.SqlAnswer),
}
QUESTIONS: Mapping[str, Question] = {
    **{route: made for name in LISTS for route, made in _of_list(name).items()},
    **_SINGLE,
}
"""By what follows the API's prefix."""
