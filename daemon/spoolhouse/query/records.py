"""What lists return: one struct for each kind of event. Times are aware, UTC; JSON columns are parsed."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

import msgspec

from spoolhouse.events.declaration import Kind, Table
from spoolhouse.query.questions import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_parse = msgspec.json.Decoder().decode


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What all records have."""

    project_id: str
    recorded_at: datetime | None = None
    extra: dict[str, Any] = {}
    """Fields that no column takes, and originals of what was converted."""
    broken: tuple[str, ...] = ()
    """Columns whose JSON cannot be parsed: they hold the text."""


class Trace(Record, frozen=True, kw_only=True):
    """One trace."""

    trace_id: str
    deployment_id: str = ""
    name: str
    status: str
    start_time: datetime
    end_time: datetime | None = None
    duration_ms: float | None = None
    input: Any = None
    output: Any = None
    metadata: Any = None


class Span(Record, frozen=True, kw_only=True):
    """One span."""

    span_id: str
    trace_id: str
    parent_span_id: str | None = None
    deployment_id: str = ""
    name: str
    kind: str
    status: str
    start_time: datetime
    end_time: datetime | None = None
    duration_ms: float | None = None
    attributes: Any = None
    events: Any = None
    span_type: str = ""
    model: str = ""
    provider: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None


class Log(Record, frozen=True, kw_only=True):
    """One log record."""

    id: str
    deployment_id: str = ""
    trace_id: str | None = None
    span_id: str | None = None
    level: str
    message: str
    timestamp: datetime
    attributes: Any = None


class Metric(Record, frozen=True, kw_only=True):
    """One measurement."""

    id: str
    deployment_id: str = ""
    name: str
    type: str
    value: float
    unit: str | None = None
    timestamp: datetime
    labels: Any = None
    organization_id: str = ""
    environment: str = ""
    service_name: str = ""
    bucket_boundaries: list[float] = []
    bucket_counts: list[int] = []


class _About(Record, frozen=True, kw_only=True):
    id: str
    deployment_id: str = ""
    trace_id: str | None = None
    span_id: str | None = None
    comment: str | None = None
    experiment: str = ""
    organization_id: str = ""
    user_id: str = ""
    environment: str = ""
    service_name: str = ""
    timestamp: datetime
    metadata: Any = None


class Score(_About, frozen=True, kw_only=True):
    """One score of a trace or span."""

    name: str
    value: float
    normalized_value: float | None = None


class Feedback(_About, frozen=True, kw_only=True):
    """One person's feedback; 5 and "5" stay two things."""

    source: str
    feedback_type: str
    value: float | str
    value_number: float | None = None


class ToolCall(Record, frozen=True, kw_only=True):
    """One call of a tool, of an agent's event."""

    event_id: str
    timestamp: datetime
    position: int
    """0 is the event itself; those in its `tool_calls` count from 1."""
    tool_name: str
    tool_id: str | None = None
    tool_input: Any = None
    tool_output: Any = None
    latency_ms: float | None = None
    status: str | None = None
    error_message: str | None = None
    error_type: str | None = None
    error_code: str | None = None


class Step(Record, frozen=True, kw_only=True):
    """One step of an agent's run."""

    event_id: str
    run_id: str
    timestamp: datetime
    step_number: int
    step_name: str
    step_type: str
    input_data: Any = None
    output_data: Any = None
    reasoning: str | None = None
    context: Any = None
    latency_ms: float | None = None
    status: str | None = None
    error_message: str | None = None
    error_type: str | None = None


class Event(Record, frozen=True, kw_only=True):
    """One event of an agent, with its tool calls."""

    event_id: str
    run_id: str
    timestamp: datetime
    user_id: str | None = None
    tags: list[str] = []
    release: str | None = None
    env: str
    client_hostname: str | None = None
    client_sdk_version: str | None = None
    client_platform: str | None = None
    event_type: str
    prompt: str | None = None
    prompt_template_id: str | None = None
    model: str | None = None
    model_version: str | None = None
    tokens_input: int | None = None
    tokens_output: int | None = None
    cost_estimate_usd: float | None = None
    response: str | None = None
    response_metadata: Any = None
    latency_ms: float | None = None
    status: str | None = None
    error_message: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    error_stack: str | None = None
    error_context: Any = None
    step_number: int | None = None
    step_name: str | None = None
    step_type: str | None = None
    step_input_data: Any = None
    step_output_data: Any = None
    step_reasoning: str | None = None
    step_context: Any = None
    assertion_name: str | None = None
    assertion_type: str | None = None
    assertion_expected: str | None = None
    assertion_actual: str | None = None
    assertion_severity: str | None = None
    hallucination_detection_method: str | None = None
    hallucination_confidence_score: float | None = None
    hallucination_flagged_content: str | None = None
    hallucination_ground_truth: str | None = None
    hallucination_recommendations: list[str] = []
    alert_type: str | None = None
    alert_threshold: float | None = None
    alert_actual_value: float | None = None
    alert_window_minutes: int | None = None
    alert_affected_models: list[str] = []
    context: Any = None
    tool_calls: list[ToolCall] = []


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an agent, as its events tell it."""

    project_id: str
    run_id: str
    start_time: datetime
    end_time: datetime
    events: int
    errors: int
    model_calls: int
    tokens_input: int
    tokens_output: int
    cost_usd: float
    models: list[str]


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """One row of figures: of a group, of an interval, of both, or of all."""

    time: datetime | None = None
    """The start of the interval."""
    by: dict[str, str | int | float | None] = {}
    values: dict[str, int | float | str | None] = {}
    previous: dict[str, int | float | str | None] | None = None
    """The same figures of the period before."""
    change: dict[str, float | None] | None = None
    """By how many percent they have changed; None where the earlier figure is 0 or missing."""


class FiguresAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Figures, and where they come from."""

    rows: list[Bucket]
    source: str
    """`rows`, `rollup NAME`, or `rollup NAME + rows` (the hours at the edges). In a rollup an event that was delivered
    twice counts twice."""
    since: datetime
    until: datetime
    truncated: bool = False


R = TypeVar("R")


class Page(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """Some records, and how to get the next ones."""

    records: list[R]
    cursor: str | None = None
    """What to give for the next page; None on the last one."""
    lines: list[bytes] = []
    """The records as lines of JSON that the spool takes."""

    @property
    def truncated(self) -> bool:
        """Whether there are more."""
        return self.cursor is not None


class Delta(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """What has landed since the delta before."""

    records: list[R]
    cursor: str
    """What to give for what lands later."""
    has_more: bool = False
    """More has landed already."""
    lines: list[bytes] = []


class TraceView(msgspec.Struct, frozen=True, kw_only=True):
    """A trace with all that belongs to it."""

    trace: Trace | None
    """None: its spans are there, and it itself is not."""
    spans: list[Span]
    logs: list[Log]
    scores: list[Score]
    feedback: list[Feedback]
    truncated: bool = False
    """There are more spans or logs than these."""
    lines: list[bytes] = []


RECORDS: Mapping[str, type[Record]] = {
    "traces": Trace, "spans": Span, "logs": Log, "metrics": Metric, "scores": Score, "feedback": Feedback,
    "events": Event, "tool_calls": ToolCall, "agent_steps": Step,
}  # fmt: skip
"""By table."""


def time_of(ms: int) -> datetime:
    """Return a time from ms since 1970."""
    return _EPOCH + timedelta(milliseconds=ms)


def record(table: Table, names: Sequence[str], row: Row, *, cut: frozenset[str] = frozenset()) -> Record:
    """Return the record of a row with these columns; those in `cut` are no whole JSON."""
    fields: dict[str, Any] = {}
    broken = []
    for name, value in zip(names, row, strict=True):
        column = table.column(name)
        if column.kind is Kind.TIME:
            fields[name] = None if value is None else time_of(value)  # type: ignore[arg-type]  # times are ms
        elif column.kind is Kind.JSON and value is not None and name not in cut:
            fields[name] = value
            if value == "":
                fields[name] = None
            else:
                try:
                    fields[name] = _parse(value)  # type: ignore[arg-type]  # JSON columns are text
                except (msgspec.DecodeError, RecursionError, UnicodeError):
                    broken.append(name)
        else:
            fields[name] = value
    if table.name == "feedback" and fields.get("value_number") is not None:
        fields["value"] = fields["value_number"]
    if not isinstance(fields.get("extra", {}), dict):
        broken.append("extra")
        fields["extra"] = {"": fields["extra"]}
    return RECORDS[table.name](**fields, broken=tuple(broken))


def columns_of(table: Table) -> tuple[str, ...]:
    """Return the columns that events fill, in their order."""
    return tuple(column.name for column in table.columns if column.keys or column.aliases or column.fill)
