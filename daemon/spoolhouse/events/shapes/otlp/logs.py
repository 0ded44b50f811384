"""Logs of OTLP."""

from collections.abc import Iterator, Sequence
from typing import Any

from spoolhouse.events.choices import LOG_LEVEL
from spoolhouse.events.shapes.otlp.documents import LogRecord, ResourceLogs
from spoolhouse.events.shapes.otlp.producer import Batch, Line, Producer, located
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    LATEST,
    encode,
    identity_or_none,
    moment,
    nanoseconds,
    of_any,
    plain,
)
from spoolhouse.events.shapes.shape import Fields, ShapedBatch, ShapeError

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
        self._logs: list[tuple[object, ...]] = []
        self._unknown: dict[int, Fields] = {}

    def read(self, groups: Sequence[ResourceLogs]) -> Iterator[ShapedBatch]:
        """Yield the logs of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_logs or ()):
                    where = outer, inner
                    logs = scoped.log_records or ()
                    producer = self._line.producer(group, scoped, len(logs))
                    batch = Batch(producer)
                    shared: dict[object, tuple[str, dict[str, Any]]] = {}
                    for number, log in enumerate(logs):
                        where = outer, inner, number
                        self._log(log, batch, shared)
                    self._logs += batch.rows()
        except ShapeError as error:
            raise located(error, ("resourceLogs", "scopeLogs", "logRecords"), where) from None
        if self._logs:
            yield ShapedBatch("log", _LOG, self._logs, self._unknown)

    def _log(self, log: LogRecord, batch: Batch, shared: dict[object, tuple[str, dict[str, Any]]]) -> None:
        """Read one log.

        `shared`: by severity and flags, the level, and what is kept of logs of which nothing else is.
        """
        time, observed = log.time_unix_nano or 0, log.observed_time_unix_nano or 0
        if time and not EARLIEST <= time < LATEST:
            time = nanoseconds(time, "timeUnixNano")
        if observed and not EARLIEST <= observed < LATEST:
            observed = nanoseconds(observed, "observedTimeUnixNano")
        if not (time or observed):
            raise ShapeError("timeUnixNano", "required, or observedTimeUnixNano", is_missing=True)
        body, message = log.body, None
        if body is not None and not (log.event_name or log.dropped_attributes_count):
            message = body.string_value
        if message is None:
            kept = _kept(log, batch.producer)
            level, message = _level(log, kept), _message(log, kept)
        else:
            key = log.severity_number, log.severity_text, log.flags
            if key not in shared:
                kept = _kept(log, batch.producer)
                shared[key] = _level(log, kept), kept
            level, kept = shared[key]
        unknown = log.unknown
        if unknown or batch.producer.unknown or self._line.unknown:
            self._unknown[len(self._logs) + len(batch.values)] = self._line.unknown_of(batch.producer, unknown)
        noticed = moment(observed) if observed else None
        at = moment(time) if time and time != observed else noticed
        batch.own.append(plain(log.attributes))
        batch.kept.append(kept)
        batch.values.append((
            identity_or_none(log.trace_id), identity_or_none(log.span_id), level, message, at, noticed,
        ))  # fmt: skip


def _kept(log: LogRecord, producer: Producer) -> dict[str, Any]:
    """Return the fields of a log that no column takes, but for its severity and its body."""
    kept = producer.kept.copy()
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
