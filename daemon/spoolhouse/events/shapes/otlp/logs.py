"""Logs of OTLP."""

from collections.abc import Iterator, Sequence
from typing import Any

from spoolhouse.events.choices import LOG_LEVEL
from spoolhouse.events.shapes.otlp.documents import LogRecord, ResourceLogs, unknown_of
from spoolhouse.events.shapes.otlp.producer import Batch, Line, Producer, located
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    LATEST,
    encode,
    identities,
    moments,
    nanoseconds,
    of_any,
    plain,
)
from spoolhouse.events.shapes.shape import ShapedBatch, ShapeError

_LOG = ("trace_id", "span_id", "level", "message", "timestamp", "recorded_at", "attributes")

_SEVERITIES = {"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warn", "ERROR": "error", "FATAL": "fatal"}
_NUMBERS = [
    (1 + 4 * place + finer, f"SEVERITY_NUMBER_{name}{finer + 1 if finer else ''}", level)
    for place, (name, level) in enumerate(_SEVERITIES.items())
    for finer in range(4)
]
_LEVELS: dict[object, str] = {
    spelling: level for number, name, level in _NUMBERS for spelling in (number, str(number), name)
}
"""By the spellings of a severity number, the level."""
_EXACT = {level: 5 + 4 * place for place, level in enumerate(("debug", "info", "warn", "error", "fatal"))}
"""The severity number that a level says."""
_UNSPECIFIED = frozenset({None, 0, "0", "", "SEVERITY_NUMBER_UNSPECIFIED"})
_BY_TEXT = {level: level for level in _EXACT} | LOG_LEVEL["same"] | LOG_LEVEL["near"]


class Logs:
    """The logs of a line."""

    def __init__(self, line: Line) -> None:
        """Read logs of `line`."""
        self._line = line
        self._logs = Batch("log", _LOG)

    def read(self, groups: Sequence[ResourceLogs]) -> Iterator[ShapedBatch]:
        """Yield the logs of several resources."""
        for outer, group in enumerate(groups):
            for inner, scoped in enumerate(group.scope_logs or ()):
                logs = scoped.log_records or ()
                try:
                    producer = self._line.producer(group, scoped, len(logs))
                    if logs:
                        self._scope(logs, producer)
                except ShapeError as error:
                    raise located(error, ("resourceLogs", "scopeLogs"), (outer, inner)) from None
        return self._logs.shaped()

    def _scope(self, logs: Sequence[LogRecord], producer: Producer) -> None:
        """Read the logs of one scope."""
        times, observed = _times(logs)
        levels, messages, kept = zip(*_said(logs), strict=True)
        own = [plain(log.attributes) for log in logs]
        trace_ids = identities([log.trace_id for log in logs])
        span_ids = identities([log.span_id for log in logs])
        noticed = moments(observed)
        at = noticed if times == observed else moments(times)
        unknown = self._line.unknown_of(producer, unknown_of(logs), len(logs))
        columns = trace_ids, span_ids, levels, messages, at, noticed, producer.texts(own)
        self._logs.add(columns, producer.extras(kept, own), unknown)


def _times(logs: Sequence[LogRecord]) -> tuple[list[int], list[int]]:
    """Return each log's time, which may be that of its observation, and the time of its observation, which may be 0."""
    times, observed = [], []
    for number, log in enumerate(logs):
        time, noticed = log.time_unix_nano or 0, log.observed_time_unix_nano or 0
        try:
            if not EARLIEST <= time < LATEST:
                time = nanoseconds(time, "timeUnixNano")
            if not EARLIEST <= noticed < LATEST:
                noticed = nanoseconds(noticed, "observedTimeUnixNano")
            if not (time or noticed):
                raise ShapeError("timeUnixNano", "required, or observedTimeUnixNano", is_missing=True)
        except ShapeError as error:
            raise located(error, ("logRecords",), (number,)) from None
        times.append(time or noticed)
        observed.append(noticed)
    return times, observed


def _said(logs: Sequence[LogRecord]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the level and the message of each log, and what is kept of it."""
    plain_ones: dict[object, tuple[str, dict[str, Any]]] = {}
    """By severity and flags, the level, and what is kept of logs of which nothing else is."""
    for log in logs:
        body, severity = log.body, (log.severity_number, log.severity_text, log.flags)
        if body is None or body.string_value is None or log.event_name or log.dropped_attributes_count:
            kept = _kept(log)
            yield _level(log, kept), _message(log, kept), kept
        else:
            if severity not in plain_ones:
                kept = _kept(log)
                plain_ones[severity] = _level(log, kept), kept
            level, kept = plain_ones[severity]
            yield level, body.string_value, kept


def _kept(log: LogRecord) -> dict[str, Any]:
    """Return the fields of a log that no column takes, but for its severity and its body."""
    kept: dict[str, Any] = {}
    if log.flags:
        kept["flags"] = log.flags
    if log.event_name:
        kept["eventName"] = log.event_name
    if log.dropped_attributes_count:
        kept["droppedAttributesCount"] = log.dropped_attributes_count
    return kept


def _level(log: LogRecord, kept: dict[str, Any]) -> str:
    """Return the level; `kept` gets the details of the severity."""
    number, text = log.severity_number, log.severity_text or ""
    level = _LEVELS.get(number)
    if level is None:
        level = _BY_TEXT.get(text.lower(), "info")
        if number not in _UNSPECIFIED:
            kept["severityNumber"] = number
    elif number != _EXACT[level]:
        kept["severityNumber"] = number
    if text and text.lower() != level:
        kept["severityText"] = text
    return level


def _message(log: LogRecord, kept: dict[str, Any]) -> str:
    """Return the body as text: JSON, if it is none, and then it is kept as it is. Without a body: the event's name."""
    if log.body is None:
        return log.event_name or ""
    if log.body.string_value is not None:
        return log.body.string_value
    body = of_any(log.body)
    if body is None:
        return log.event_name or ""
    kept["body"] = body
    return body if isinstance(body, str) else encode(body).decode()
