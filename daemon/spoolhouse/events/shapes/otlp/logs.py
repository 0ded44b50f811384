"""Logs of OTLP."""

from collections.abc import Iterator, Sequence
from typing import Any

from spoolhouse.events.choices import LOG_LEVEL
from spoolhouse.events.shapes.otlp.documents import LogRecord, ResourceLogs, ScopeLogs
from spoolhouse.events.shapes.otlp.producer import RESOURCE, SCOPE, TIMES_ITS_JSON, Extras, Line, Producer, located
from spoolhouse.events.shapes.otlp.values import (
    EARLIEST,
    LATEST,
    NO_SPAN,
    NO_TRACE,
    SPAN_DIGITS,
    TRACE_DIGITS,
    encode,
    encode_sorted,
    identity_or_none,
    moments,
    nanoseconds,
    of_any,
    plain,
    texts,
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


_NO_SCOPES = (ScopeLogs(),)
"""For a resource without scopes: it is read nevertheless, and refused if it is none."""


class Logs:
    """The logs of a line."""

    def __init__(self, line: Line) -> None:
        """Read logs of `line`."""
        self._line = line
        self._columns: dict[str, list[Any]] = {name: [] for name in _LOG}
        self._own: list[dict[str, Any]] = []
        """Their attributes."""
        self._extras = Extras()
        self._unknown: dict[int, Fields] = {}

    def read(self, groups: Sequence[ResourceLogs]) -> Iterator[ShapedBatch]:
        """Yield the logs of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_logs or _NO_SCOPES):
                    where = outer, inner
                    logs = scoped.log_records or ()
                    producer = self._line.producer(group, scoped, len(logs))
                    self._line.note_unknown(producer, logs, len(self._own), self._unknown)
                    self._scope(logs, producer)
        except ShapeError as error:
            raise located(error, ("resourceLogs", "scopeLogs"), where) from None
        if self._own:
            self._columns["attributes"] = texts(self._own)
            yield ShapedBatch("log", self._columns, self._extras.written(), self._unknown)

    def _scope(self, logs: Sequence[LogRecord], producer: Producer) -> None:
        """Read the logs of one scope."""
        trace_ids, span_ids, levels, messages, times, noticed, _ = self._columns.values()
        extras, all_own, known, written = self._extras.texts, self._own, producer.known, producer.written
        at: list[int] = []
        seen: list[int] = []
        number = 0
        try:
            for number, log in enumerate(logs):  # noqa: B007  # the error names it
                time, observed = log.time_unix_nano or 0, log.observed_time_unix_nano or 0
                if not (EARLIEST <= time < LATEST and EARLIEST <= observed < LATEST):
                    time, observed = _times(time, observed)
                at.append(time or observed)
                seen.append(observed)
                one = log.trace_id
                is_usual = one and len(one) == TRACE_DIGITS and one != NO_TRACE
                trace_ids.append(one.lower() if is_usual else identity_or_none(one))  # type: ignore[union-attr]  # has a length
                one = log.span_id
                is_usual = one and len(one) == SPAN_DIGITS and one != NO_SPAN
                span_ids.append(one.lower() if is_usual else identity_or_none(one))  # type: ignore[union-attr]  # has a length
                own, body = plain(log.attributes), log.body
                all_own.append(own)
                message = (log.event_name or "") if body is None else body.string_value
                is_joined = not (RESOURCE in own or SCOPE in own)
                if message is None or log.dropped_attributes_count or not is_joined:
                    kept = _kept(log, producer)
                    levels.append(_level(log, kept))
                    messages.append(_message(log, kept))
                    self._extras.keep(kept, own, producer)
                else:
                    shared = known.get((log.severity_number, log.severity_text, log.flags, log.event_name))
                    level, extra = shared or _shared(log, producer)
                    levels.append(level)
                    messages.append(message)
                    extras.append(extra)
                if is_joined:
                    own |= written
        except ShapeError as error:
            raise located(error, ("logRecords",), (number,)) from None
        found = moments(at)
        times += found
        noticed += found if at == seen else moments(seen)


def _times(time: int, observed: int) -> tuple[int, int]:
    """Return the time and the time of observation in nanoseconds, one of which may be 0."""
    time, observed = nanoseconds(time, "timeUnixNano"), nanoseconds(observed, "observedTimeUnixNano")
    if not (time or observed):
        raise ShapeError("timeUnixNano", "required, or observedTimeUnixNano", is_missing=True)
    return time, observed


def _shared(log: LogRecord, producer: Producer) -> tuple[str, str]:
    """Return the level and the text of `extra` of all logs with the same severity, flags and event name.

    They have nothing else for `extra`.
    """
    kept = _kept(log, producer)
    level = _level(log, kept)
    [text] = texts([kept], encode_sorted)
    shared = level, text
    producer.remember(
        (log.severity_number, log.severity_text, log.flags, log.event_name), shared, TIMES_ITS_JSON * len(text)
    )
    return shared


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
