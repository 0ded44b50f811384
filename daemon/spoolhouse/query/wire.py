"""What goes over HTTP: questions and answers as JSON. Pure; who serves the API and who asks it share it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from types import UnionType
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

from spoolhouse.errors import BadRequestError
from spoolhouse.query.records import Event, Feedback, Log, Metric, Run, Score, Span, Step, Trace
from spoolhouse.query.requests import ALL_PROJECTS, LISTS, AllProjects, Question

PREFIX = "/api/v1/"
PAGE_ROUTES: Mapping[str, str] = {name: f"{name}/page" if name in {"scores", "feedback"} else name for name in LISTS}
"""The route of each list's page. A score or feedback that is sent to the bare name is written."""
MOST_IDS = 10_000
Fields = dict[str, Any]
"""The JSON object of a question."""
Q = TypeVar("Q", bound=Question)
S = TypeVar("S", bound=Struct)
R = TypeVar("R")


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why there is no answer, and what to do about it, if that is known."""

    error: str
    fix: str = ""


class Paging(Struct, frozen=True, kw_only=True):
    """What is asked of a list besides its request."""

    cursor: str | None = None
    after: str | None = None
    """Of a delta."""
    offset: int = 0
    lines: bool = False
    """With the lines that the spool takes."""


class PageAnswer(Struct, Generic[R], frozen=True, kw_only=True):
    """One page of a list, or a delta."""

    records: list[R]
    cursor: str | None
    truncated: bool
    """There are more."""
    lines: list[Raw] = []


PAGES: Mapping[str, type[PageAnswer[Any]]] = {
    "traces": PageAnswer[Trace],
    "spans": PageAnswer[Span],
    "logs": PageAnswer[Log],
    "metrics": PageAnswer[Metric],
    "scores": PageAnswer[Score],
    "feedback": PageAnswer[Feedback],
    "events": PageAnswer[Event],
}


class TraceAnswer(Struct, frozen=True, kw_only=True):
    """A trace with all that belongs to it."""

    trace: Trace | None
    spans: list[Span]
    logs: list[Log]
    scores: list[Score]
    feedback: list[Feedback]
    truncated: bool
    lines: list[Raw] = []


class SpansAnswer(Struct, frozen=True, kw_only=True):
    """Spans, by start."""

    spans: list[Span]


class StepsAnswer(Struct, frozen=True, kw_only=True):
    """The steps of a run, by number."""

    steps: list[Step]


class RunsAnswer(Struct, frozen=True, kw_only=True):
    """Runs of agents, the latest first."""

    runs: list[Run]


class ValuesAnswer(Struct, frozen=True, kw_only=True):
    """Different values, sorted."""

    values: list[str]


class CountAnswer(Struct, frozen=True, kw_only=True):
    """A number of records."""

    count: int


class Written(Struct, frozen=True, kw_only=True):
    """What an event is known by once it is durable in the spool: sent again with both, it stays one row.

    Sent again unchanged to the same process within ten minutes, it is not written again. Else rollups count it again.
    """

    id: str
    timestamp: Any
    """As it was sent."""


class SqlAnswer(Struct, frozen=True, kw_only=True):
    """The names of columns, and rows."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


class _Scoped(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    project: str | None = None
    all_projects: bool = False

    @property
    def scope(self) -> str | AllProjects:
        """The project, or all of them."""
        return scope(self.project, is_all=self.all_projects)


class TraceAsked(_Scoped, frozen=True, kw_only=True):
    """A trace, or its spans."""

    trace_id: str
    lines: bool = False


class SpansAsked(_Scoped, frozen=True, kw_only=True):
    """Spans of a trace: these, or else all."""

    trace_id: str
    span_ids: list[str] | None = None


class BranchAsked(_Scoped, frozen=True, kw_only=True):
    """A span, and what is below it."""

    trace_id: str
    span_id: str
    depth: int | None = None


class EventAsked(_Scoped, frozen=True, kw_only=True):
    """One event of an agent."""

    event_id: str


class StepsAsked(_Scoped, frozen=True, kw_only=True):
    """The steps of a run."""

    run_id: str


class ProjectsAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The names of all projects of which something happened since then."""

    since: str = "90d"


class SqlAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SELECT of the user's own."""

    statement: str
    limit: int = 1000


def scope(project: str | None, *, is_all: bool) -> str | AllProjects:
    """Return a project, or all of them. Raises `BadRequestError` unless exactly one of the two is given."""
    if (project is None) != is_all:
        raise BadRequestError(
            "exactly one of project and all_projects is accepted; name one project, or set all_projects to true"
        )
    return ALL_PROJECTS if project is None else project


def converted(fields: Any, kind: type[S]) -> S:
    """Return what JSON says. Raises `BadRequestError`."""
    try:
        return msgspec.convert(fields, type=kind)
    except msgspec.ValidationError as error:
        raise BadRequestError(f"the question is not accepted: {error}") from None


def question(kind: type[Q], fields: Fields) -> Q:
    """Return the request that JSON says. Raises `BadRequestError`."""
    known = (*kind.__struct_fields__, "all_projects")
    wrong = next((key for key in fields if key not in known), None)
    if wrong is not None:
        raise BadRequestError(f"{kind.__name__} have no {wrong[:60]!r}; accepted: {', '.join(known)}")
    found = converted(fields, _twin(kind))
    given = {key: getattr(found, key) for key, value in fields.items() if key != "all_projects" and value is not None}
    is_all = bool(found.all_projects)  # type: ignore[attr-defined]  # each twin has it
    return kind(**{**given, "project": scope(given.get("project"), is_all=is_all)})


@cache
def _twin(kind: type[Question]) -> type[Struct]:
    """Return a struct with the fields of a request, in types that JSON has."""
    return msgspec.defstruct(kind.__name__, _plain_fields(kind), kw_only=True)


def _plain_fields(kind: type[Question]) -> list[tuple[str, Any, Any]]:
    fields = [(name, _plain(hint) | None, None) for name, hint in get_type_hints(kind).items() if name != "project"]
    return [*fields, ("project", str | None, None), ("all_projects", bool, False)]


@cache
def described(kind: type[Question], more: type[Struct] | None = None) -> type[Struct]:
    """Return a struct with all fields of a question's JSON, and those of `more`: the OpenAPI document has it."""
    added = () if more is None else zip(more.__struct_fields__, more.__struct_defaults__, strict=True)
    hints = {} if more is None else get_type_hints(more)
    fields = [*_plain_fields(kind), *((name, hints[name], default) for name, default in added)]
    name = f"{kind.__name__}Question" if more is None else f"{kind.__name__}PageQuestion"
    return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)


def _plain(hint: Any) -> Any:
    """Return a type without the members of a union that JSON tells from no other."""
    if hint == tuple[str, ...]:
        return str | list[str]  # one may stand for a list of one
    if get_origin(hint) not in {Union, UnionType}:
        return hint
    members = get_args(hint)
    has_list = any(get_origin(one) is list for one in members)
    kept = [one for one in members if one not in {datetime, timedelta} and not (has_list and get_origin(one) is tuple)]
    return Union[tuple(kept)]  # noqa: UP007  # of a number that is not known here


def fields_of(question: Question) -> Fields:
    """Return a request that was checked as JSON's values. Raises `BadRequestError` for what JSON does not have."""
    plain: Fields = msgspec.to_builtins(question, enc_hook=_refuse)
    plain |= in_scope(question.project)
    return {key: value for key, value in plain.items() if value is not None}


def in_scope(project: str | AllProjects) -> Fields:
    """Return the fields that say which project is meant."""
    return {"project": None, "all_projects": True} if isinstance(project, AllProjects) else {"project": project}


def _refuse(value: object) -> object:
    raise BadRequestError(f"{type(value).__name__} is not accepted in a question")


def encoded(value: object) -> bytes:
    """Return a value as JSON. Raises `BadRequestError` for text that is no Unicode."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise BadRequestError("a text is not valid Unicode") from None
