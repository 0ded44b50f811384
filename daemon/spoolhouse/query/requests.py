"""The questions that can be asked: frozen values, checked before anything is sent."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal

import msgspec

from spoolhouse.errors import BadRequestError


class AllProjects(Enum):
    """The operator's way past the border of a project."""

    ALL_PROJECTS = "all projects"


ALL_PROJECTS = AllProjects.ALL_PROJECTS

When = datetime | timedelta | str | None
"""A time, how long ago it was, or either as text: `2h`, `7d`, a date, a time. Naive times are UTC."""
Texts = str | tuple[str, ...] | list[str] | None
Order = str
MOST_RECORDS = 1000
"""On a page."""
PAGE_SIZE = 50
DEEPEST = 10_000
"""Records up to the end of a page by number."""
LONGEST_TEXT = 4096
"""Bytes of a text to compare with."""
MOST_CHOICES = 100
"""Texts in a list of them."""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all questions have."""

    project: str | AllProjects
    since: When = None
    """24 hours before `until` unless given."""
    until: When = None
    """Now unless given; included in lists, excluded in figures."""
    where: Mapping[str, Any] | None = None
    """A predicate: `{"and": […]}`, `{"or": […]}`, `{"not": …}`, `{"field": …, "op": …, "value": …}`,
    `{"some": "spans", "where": …}`, `{"none": …}`."""
    label: Mapping[str, str] | None = None
    """Values of the row's JSON object (metadata, attributes, labels, context), by key; all have to be so."""


class ListQuestion(Question, frozen=True, kw_only=True):
    """A list, page by page."""

    order: Order = "-time"
    """`time` or a column of `Signal.orders`; with `-` before it the largest first. Ties go by time and id."""
    limit: int | None = None
    """Records in all; a page has no more either. Else an iterator yields all that there are."""
    page_size: int | None = None
    """Records on a page: 1 to 1000. Else `limit`, up to 1000, or 50 without one."""
    light: bool = False
    """Without the long columns; a trace's input is cut to its first 100 characters."""


class Traces(ListQuestion, frozen=True, kw_only=True):
    """Traces. `name` is a part of the name; `min` and `max` bound the duration in ms, both included."""

    trace: Texts = None
    status: Texts = None
    name: str | None = None
    deployment: Texts = None
    min: float | None = None
    max: float | None = None


class Spans(ListQuestion, frozen=True, kw_only=True):
    """Spans. `name` is a part of the name; `min` and `max` bound the duration in ms, both included."""

    trace: Texts = None
    span: Texts = None
    parent: Texts = None
    kind: Texts = None
    status: Texts = None
    name: str | None = None
    deployment: Texts = None
    type: Texts = None
    model: Texts = None
    provider: Texts = None
    min: float | None = None
    max: float | None = None


class Logs(ListQuestion, frozen=True, kw_only=True):
    """Logs. `words`: the message has each of these words, in any case; `contains`: it has this text as it is."""

    id: Texts = None
    trace: Texts = None
    span: Texts = None
    level: Texts = None
    words: str | None = None
    contains: str | None = None
    deployment: Texts = None


class Metrics(ListQuestion, frozen=True, kw_only=True):
    """Metrics. `name` is the whole name, or a list of them; `min` and `max` bound the value."""

    id: Texts = None
    name: Texts = None
    type: Texts = None
    unit: Texts = None
    deployment: Texts = None
    organization: Texts = None
    environment: Texts = None
    service: Texts = None
    min: float | None = None
    max: float | None = None


class _Judgements(ListQuestion, frozen=True, kw_only=True):
    """What can be asked of scores and of feedback."""

    id: Texts = None
    trace: Texts = None
    span: Texts = None
    deployment: Texts = None
    experiment: Texts = None
    organization: Texts = None
    user: Texts = None
    environment: Texts = None
    service: Texts = None
    min: float | None = None
    max: float | None = None


class Scores(_Judgements, frozen=True, kw_only=True):
    """Scores. `name` is the whole name, or a list of them; `min` and `max` bound the value."""

    name: Texts = None


class Feedback(_Judgements, frozen=True, kw_only=True):
    """Feedback. `min` and `max` bound the values that are numbers."""

    type: Texts = None
    source: Texts = None


class Events(ListQuestion, frozen=True, kw_only=True):
    """Events of agents. `min` and `max` bound the latency in ms."""

    event: Texts = None
    run: Texts = None
    user: Texts = None
    type: Texts = None
    status: Texts = None
    model: Texts = None
    environment: Texts = None
    tag: str | None = None
    min: float | None = None
    max: float | None = None


Using = Literal["auto", "rows", "rollup"]
Period = Literal["previous_period", "previous_day", "previous_week"]


class Figures(Question, frozen=True, kw_only=True):
    """Figures of the rows of a signal, as a whole or by group and interval."""

    signal: str
    """`span`, `trace`, `log`, `metric`, `score`, `feedback`, `event`, `step`, `tool_call`."""
    filters: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """As in the list of that signal."""
    measure: str | None = None
    """The column of numbers: of spans and traces the duration, else the value, unless given."""
    of: tuple[str, ...] = ("count",)
    """`count`, `errors`, `error_rate` (0 to 1), `error_percent`, `rate` (a second), `sum`, `avg`, `min`, `max`, `last`,
    `count_distinct`, `p50`, `p99.9`, …; of another column as `avg:cost_usd`, `count_distinct:trace_id`."""
    by: tuple[str, ...] = ()
    """Columns, or keys of the JSON object as `label.KEY`."""
    edges: tuple[float, ...] | None = None
    """Up to 100 rising numbers. Rows are grouped by the measure, too: the group `bin` is how many of these the value
    has reached; without a value it is None."""
    every: str | int | timedelta | None = None
    """An interval of whole seconds: `1m`, `5m`, `1h`, `1d`, 3600. Buckets begin at multiples of it since 1970, UTC."""
    compare: Period | None = None
    having: tuple[tuple[str, str, float], ...] = ()
    """A figure, `eq` `ne` `lt` `lte` `gt` `gte`, and a number."""
    order: str = ""
    """A figure; `-` before it: the largest first. Else by time and group."""
    limit: int = MOST_RECORDS
    using: Using = "auto"
    """`auto`: rows, unless the window is longer than two days and a rollup fits."""


class Values(Question, frozen=True, kw_only=True):
    """The different values that occur, sorted."""

    what: str
    """A key of `signals.VALUES`."""
    signal: str | None = None
    key: str | None = None
    """Of label_values: the label."""
    prefix: str = ""
    limit: int = 100


LISTS: Mapping[str, type[ListQuestion]] = {
    "traces": Traces, "spans": Spans, "logs": Logs, "metrics": Metrics, "scores": Scores, "feedback": Feedback,
    "events": Events,
}  # fmt: skip


def request(name: str, values: Mapping[str, Any]) -> ListQuestion:
    """Return the request of a list; raises `BadRequestError` for a filter that it does not have."""
    kind = LISTS.get(name)
    if kind is None:
        raise BadRequestError(f"no list {name!r}; accepted: {', '.join(LISTS)}")
    known = kind.__struct_fields__
    wrong = next((key for key in values if key not in known), None)
    if wrong is not None:
        raise BadRequestError(f"{name} have no {wrong}; accepted: {', '.join(known)}")
    if "project" not in values:
        raise BadRequestError("a project is required; ALL_PROJECTS stands for all of them")
    return kind(**values)
