"""The agent family: eight event types that share the table `events` and have rows in `tool_calls` and `agent_steps`.

Their JSON is snake_case, with `event_type` as the discriminator (or `type`). JSON-valued columns
hold the JSON text; absent is NULL.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from spoolhouse.events import choices
from spoolhouse.events.agent_rollups import AGENT_ROLLUPS
from spoolhouse.events.declaration import Column, EventType, Fill, Index, Key, Kind, RowSource, Table, both_cases

AGENT_TYPES = {
    "prompt_call": 1,
    "tool_call": 2,
    "agent_step": 3,
    "error": 4,
    "assertion_failed": 5,
    "hallucination_detected": 6,
    "cost_threshold_exceeded": 7,
    "performance_alert": 8,
}
STEP_TYPE = {"reasoning": 1, "tool_call": 2, "validation": 3, "output": 4}
ASSERTION_TYPE = {"response_format": 1, "content_filter": 2, "safety_check": 3, "custom": 4}
SEVERITY = {"low": 1, "medium": 2, "high": 3, "critical": 4}
DETECTION = {"heuristic": 1, "model_ensemble": 2, "ground_truth_verification": 3}
ALERT = {"cost_spike": 1, "latency_spike": 2, "error_rate_spike": 3, "token_limit": 4}


def _optional(name: str, kind: Kind, *keys: Key, bloom: float | None = None, low_cardinality: bool = False) -> Column:
    """Return a column that is NULL where the event does not say; its key is its name unless others are given."""
    return Column(
        name=name, kind=kind, keys=keys or (name,), nullable=True, bloom=bloom, low_cardinality=low_cardinality
    )


def _choice(name: str, named: Mapping[str, int], *keys: Key) -> Column:
    return Column(name=name, kind=Kind.CHOICE, keys=keys or (name,), choices=named, nullable=True)


def _texts(name: str) -> Column:
    return Column(name=name, kind=Kind.TEXTS, keys=(name,))


def _required(column: Column, **more: object) -> Column:
    return replace(column, required=True, nullable=False, **more)


def _step(key: str) -> tuple[Key, ...]:
    return ("step", key), f"step_{key}"


EVENT_ID = Column(name="event_id", kind=Kind.TEXT, keys=("event_id",), required=True, identifies=True, fill=Fill.LINE)
EXTRA = Column(name="extra", kind=Kind.JSON, fill=Fill.EXTRA, default="{}")
PROJECT = Column(name="project_id", kind=Kind.TEXT, keys=("project_id",), required=True, low_cardinality=False)
RUN_ID = Column(name="run_id", kind=Kind.TEXT, keys=("run_id",), required=True, bloom=0.01)
TIMESTAMP = Column(name="timestamp", kind=Kind.TIME, keys=("timestamp",), required=True)
RECORDED_AT = Column(name="recorded_at", kind=Kind.TIME, keys=("recorded_at",), fill=Fill.CLOCK)
LATENCY = _optional("latency_ms", Kind.NUMBER)
STATUS_COLUMN = Column(name="status", kind=Kind.CHOICE, keys=("status",), nullable=True, **choices.AGENT_STATUS)
ERROR_MESSAGE = _optional("error_message", Kind.TEXT, ("error", "message"))
ERROR_TYPE = _optional("error_type", Kind.TEXT, ("error", "type"))
ERROR_CODE = _optional("error_code", Kind.SCALAR, ("error", "code"))
STEP_NUMBER = _optional("step_number", Kind.INTEGER32, *_step("number"))
STEP_NAME = _optional("step_name", Kind.TEXT, *_step("name"))
STEP_TYPE_COLUMN = _choice("step_type", STEP_TYPE, *_step("type"))

EVENTS = Table(
    name="events",
    columns=both_cases(
        (
            replace(EVENT_ID, bloom=0.001),
            PROJECT,
            RUN_ID,
            TIMESTAMP,
            _optional("user_id", Kind.TEXT, bloom=0.01),
            _texts("tags"),
            _optional("release", Kind.TEXT),
            Column(name="env", kind=Kind.CHOICE, keys=("env",), default="production", **choices.ENVIRONMENT),
            _optional("client_hostname", Kind.TEXT, ("client", "hostname")),
            _optional("client_sdk_version", Kind.TEXT, ("client", "sdk_version")),
            _optional("client_platform", Kind.TEXT, ("client", "platform")),
            Column(name="event_type", kind=Kind.CHOICE, choices=AGENT_TYPES, fill=Fill.TYPE),
            _optional("prompt", Kind.ANY),
            _optional("prompt_template_id", Kind.TEXT),
            _optional("model", Kind.TEXT, bloom=0.01, low_cardinality=True),
            _optional("model_version", Kind.TEXT),
            _optional("tokens_input", Kind.INTEGER),
            _optional("tokens_output", Kind.INTEGER),
            _optional("cost_estimate_usd", Kind.NUMBER),
            _optional("response", Kind.ANY),
            _optional("response_metadata", Kind.JSON),
            LATENCY,
            STATUS_COLUMN,
            ERROR_MESSAGE,
            ERROR_TYPE,
            ERROR_CODE,
            _optional("error_stack", Kind.TEXT, ("error", "stack"), ("error", "stack_trace")),
            _optional("error_context", Kind.JSON, ("error", "context")),
            STEP_NUMBER,
            STEP_NAME,
            STEP_TYPE_COLUMN,
            _optional("step_input_data", Kind.JSON, *_step("input_data")),
            _optional("step_output_data", Kind.JSON, *_step("output_data")),
            _optional("step_reasoning", Kind.TEXT, *_step("reasoning")),
            _optional("step_context", Kind.JSON, *_step("context")),
            _optional("assertion_name", Kind.TEXT),
            _choice("assertion_type", ASSERTION_TYPE),
            _optional("assertion_expected", Kind.ANY),
            _optional("assertion_actual", Kind.ANY),
            _choice("assertion_severity", SEVERITY),
            _choice("hallucination_detection_method", DETECTION),
            _optional("hallucination_confidence_score", Kind.NUMBER),
            _optional("hallucination_flagged_content", Kind.TEXT),
            _optional("hallucination_ground_truth", Kind.TEXT),
            _texts("hallucination_recommendations"),
            _choice("alert_type", ALERT),
            _optional("alert_threshold", Kind.NUMBER),
            _optional("alert_actual_value", Kind.NUMBER),
            _optional("alert_window_minutes", Kind.INTEGER32),
            _texts("alert_affected_models"),
            _optional("context", Kind.JSON),
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "timestamp", "event_id"),
    time="timestamp",
    ttl_days=90,
    indexes=(
        Index(columns=("project_id", "timestamp"), type="minmax"),
        Index(columns=("status",), type="set(0)"),
        Index(columns=("event_type",), type="set(0)"),
    ),
    rollups=AGENT_ROLLUPS,
)

TOOL_NAME = Column(
    name="tool_name", kind=Kind.TEXT, keys=("tool_name",), required=True, low_cardinality=True, bloom=0.01
)
TOOL_CALLS = Table(
    name="tool_calls",
    columns=both_cases(
        (
            replace(EVENT_ID, bloom=0.01),
            PROJECT,
            TIMESTAMP,
            Column(name="position", kind=Kind.INTEGER32, fill=Fill.POSITION),
            TOOL_NAME,
            _optional("tool_id", Kind.TEXT),
            Column(name="tool_input", kind=Kind.JSON, keys=("input", "tool_input"), default=""),
            Column(name="tool_output", kind=Kind.JSON, keys=("output", "tool_output"), default=""),
            LATENCY,
            STATUS_COLUMN,
            ERROR_MESSAGE,
            ERROR_TYPE,
            ERROR_CODE,
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "timestamp", "event_id", "position"),
    time="timestamp",
    ttl_days=90,
)
_OF_THE_EVENT = ("event_id", "project_id", "timestamp", "recorded_at")
_LISTED_CALLS = RowSource(
    table=TOOL_CALLS,
    each="tool_calls",
    columns=tuple(replace(column, inherited=column.name in _OF_THE_EVENT) for column in TOOL_CALLS.columns),
)
_OWN_CALL = RowSource(table=TOOL_CALLS, columns=TOOL_CALLS.columns, when="tool_name")

AGENT_STEPS = Table(
    name="agent_steps",
    columns=both_cases(
        (
            EVENT_ID,
            PROJECT,
            RUN_ID,
            TIMESTAMP,
            _required(STEP_NUMBER),
            _required(STEP_NAME),
            _required(STEP_TYPE_COLUMN),
            Column(name="input_data", kind=Kind.JSON, keys=_step("input_data"), default=""),
            Column(name="output_data", kind=Kind.JSON, keys=_step("output_data"), default=""),
            _optional("reasoning", Kind.TEXT, *_step("reasoning")),
            _optional("context", Kind.JSON, *_step("context")),
            LATENCY,
            STATUS_COLUMN,
            ERROR_MESSAGE,
            ERROR_TYPE,
            RECORDED_AT,
            EXTRA,
        )
    ),
    order_by=("project_id", "timestamp", "run_id", "step_number", "event_id"),
    time="timestamp",
    ttl_days=90,
    indexes=(Index(columns=("step_number",), type="minmax"),),
)
_STEP = RowSource(table=AGENT_STEPS, columns=AGENT_STEPS.columns)

AGENT_EVENTS: tuple[EventType, ...] = tuple(
    {
        "tool_call": EventType(
            name="tool_call", table=EVENTS, children=(_OWN_CALL, _LISTED_CALLS), needs=("tool_name", "tool_calls")
        ),
        "agent_step": EventType(name="agent_step", table=EVENTS, children=(_STEP, _LISTED_CALLS)),
    }.get(name, EventType(name=name, table=EVENTS, children=(_LISTED_CALLS,)))
    for name in AGENT_TYPES
)
