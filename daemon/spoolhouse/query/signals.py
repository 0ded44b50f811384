"""What can be asked of each table: its filters, its JSON object of labels, and its names. Data, no code.

A filter is named the same everywhere: in requests, as a keyword, and as a flag of the terminal.
"""

from collections.abc import Mapping

from msgspec import Struct

from spoolhouse.events import agent, builtin
from spoolhouse.events.declaration import Table
from spoolhouse.query.questions import Op


class Signal(Struct, frozen=True, kw_only=True):
    """One table, as the query side sees it."""

    name: str
    """In the plural, as a list is called."""
    one: str
    """In the singular, as one event is called."""
    table: Table
    id: str
    filters: Mapping[str, tuple[str, Op]]
    """By name: the column, and how it is compared. EQ takes a list, too."""
    labels: str
    """The JSON object that a filter by label, and a group by key, means."""
    measure: str
    """The column of numbers that figures are of unless another one is named, and that min and max bound."""
    failed: tuple[str, ...] = ()
    """The choices of `status` (of a log: of `level`) that count as errors."""
    payload: tuple[str, ...] = ()
    """Long columns, which a light list leaves out."""
    orders: tuple[str, ...] = ()
    """Columns that a list may be ordered by, besides its time."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns that tell rows of one time and project apart."""
        return tuple(name for name in self.table.order_by if name not in {"project_id", self.table.time})

    @property
    def status(self) -> str:
        """The column that says whether a row is an error; empty if there is none."""
        names = {column.name for column in self.table.columns}
        return next((name for name in ("status", "level") if name in names), "")


def _equal(**columns: str) -> dict[str, tuple[str, Op]]:
    return {name: (column, Op.EQ) for name, column in columns.items()}


def _between(column: str) -> dict[str, tuple[str, Op]]:
    return {"min": (column, Op.GE), "max": (column, Op.LE)}


_WHERE_FROM = _equal(organization="organization_id", environment="environment", service="service_name")
_WHO = {**_equal(experiment="experiment", user="user_id"), **_WHERE_FROM}

TRACES = Signal(
    name="traces",
    one="trace",
    table=builtin.TRACES,
    id="trace_id",
    filters={
        **_equal(trace="trace_id", status="status", deployment="deployment_id"),
        "name": ("name", Op.CONTAINS),
        **_between("duration_ms"),
    },
    labels="metadata",
    measure="duration_ms",
    failed=("error",),
    payload=("input", "output", "metadata", "extra"),
    orders=("duration_ms", "name"),
)
SPANS = Signal(
    name="spans",
    one="span",
    table=builtin.SPANS,
    id="span_id",
    filters={
        **_equal(
            trace="trace_id", span="span_id", parent="parent_span_id", kind="kind", status="status",
            deployment="deployment_id", type="span_type", model="model", provider="provider",
        ),
        "name": ("name", Op.CONTAINS),
        **_between("duration_ms"),
    },
    labels="attributes",
    measure="duration_ms",
    failed=("error",),
    payload=("attributes", "events", "extra"),
    orders=("duration_ms", "name", "input_tokens", "output_tokens", "cost_usd"),
)  # fmt: skip
LOGS = Signal(
    name="logs",
    one="log",
    table=builtin.LOGS,
    id="id",
    filters={
        **_equal(id="id", trace="trace_id", span="span_id", level="level", deployment="deployment_id"),
        "words": ("message", Op.WORDS),
        "contains": ("message", Op.CONTAINS),
    },
    labels="attributes",
    measure="",
    failed=("error", "fatal"),
    payload=("attributes", "extra"),
)
METRICS = Signal(
    name="metrics",
    one="metric",
    table=builtin.METRICS,
    id="id",
    filters={
        **_equal(id="id", name="name", type="type", unit="unit", deployment="deployment_id"),
        **_WHERE_FROM,
        **_between("value"),
    },
    labels="labels",
    measure="value",
    payload=("bucket_boundaries", "bucket_counts", "extra"),
    orders=("value", "name"),
)
SCORES = Signal(
    name="scores",
    one="score",
    table=builtin.SCORES,
    id="id",
    filters={
        **_equal(id="id", name="name", trace="trace_id", span="span_id", deployment="deployment_id"),
        **_WHO,
        **_between("value"),
    },
    labels="metadata",
    measure="value",
    payload=("metadata", "extra"),
    orders=("value", "name"),
)
FEEDBACK = Signal(
    name="feedback",
    one="feedback",
    table=builtin.FEEDBACK,
    id="id",
    filters={
        **_equal(
            id="id", type="feedback_type", source="source", trace="trace_id", span="span_id",
            deployment="deployment_id",
        ),
        **_WHO,
        **_between("value_number"),
    },
    labels="metadata",
    measure="value_number",
    payload=("metadata", "extra"),
    orders=("value_number",),
)  # fmt: skip
EVENTS = Signal(
    name="events",
    one="event",
    table=agent.EVENTS,
    id="event_id",
    filters={
        **_equal(
            event="event_id", run="run_id", user="user_id", type="event_type", status="status", model="model",
            environment="env",
        ),
        "tag": ("tags", Op.CONTAINS),
        **_between("latency_ms"),
    },
    labels="context",
    measure="latency_ms",
    failed=("error", "timeout", "assertion_failed"),
    payload=(
        "prompt", "response", "response_metadata", "error_stack", "error_context", "step_input_data",
        "step_output_data", "context", "extra",
    ),
    orders=("latency_ms", "cost_estimate_usd"),
)  # fmt: skip
STEPS = Signal(
    name="steps",
    one="step",
    table=agent.AGENT_STEPS,
    id="event_id",
    filters=_equal(run="run_id", type="step_type", name="step_name", status="status"),
    labels="context",
    measure="latency_ms",
    failed=EVENTS.failed,
)
TOOL_CALLS = Signal(
    name="tool_calls",
    one="tool_call",
    table=agent.TOOL_CALLS,
    id="event_id",
    filters=_equal(event="event_id", name="tool_name", status="status"),
    labels="extra",
    measure="latency_ms",
    failed=EVENTS.failed,
)

LISTS: Mapping[str, Signal] = {one.name: one for one in (TRACES, SPANS, LOGS, METRICS, SCORES, FEEDBACK, EVENTS)}
"""What can be listed page by page, by name."""
SIGNALS: Mapping[str, Signal] = {
    name: one for one in (*LISTS.values(), STEPS, TOOL_CALLS) for name in (one.name, one.one)
}
"""What figures and values are of, by both names."""


class Discovery(Struct, frozen=True, kw_only=True):
    """One kind of values that occur: the column that has them, and of which signal unless another one is named."""

    column: str
    signal: Signal = SPANS
    keys: bool = False
    by_key: bool = False


VALUES: Mapping[str, Discovery] = {
    "names": Discovery(column="name", signal=METRICS),
    "label_keys": Discovery(column="", signal=METRICS, keys=True),
    "label_values": Discovery(column="", signal=METRICS, by_key=True),
    "services": Discovery(column="service_name", signal=SCORES),
    "environments": Discovery(column="environment", signal=SCORES),
    "experiments": Discovery(column="experiment", signal=SCORES),
    "deployments": Discovery(column="deployment_id", signal=TRACES),
    "levels": Discovery(column="level", signal=LOGS),
    "models": Discovery(column="model", signal=SPANS),
    "providers": Discovery(column="provider", signal=SPANS),
    "types": Discovery(column="span_type", signal=SPANS),
    "kinds": Discovery(column="kind", signal=SPANS),
    "statuses": Discovery(column="status", signal=TRACES),
    "tags": Discovery(column="tags", signal=EVENTS),
    "users": Discovery(column="user_id", signal=EVENTS),
    "sources": Discovery(column="source", signal=FEEDBACK),
    "tools": Discovery(column="tool_name", signal=TOOL_CALLS),
}
"""What `values` finds, by name."""
