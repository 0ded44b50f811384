"""Logs of OTLP."""

from collections.abc import Iterator, Sequence
from typing import Any

from spoolhouse.events.choices import LOG_LEVEL
from spoolhouse.events.shapes.otlp.documents import Columns, LogRecord, ResourceLogs, columns_of, unknown_of
from spoolhouse.events.shapes.otlp.producer import Batch, Line, Producer, clashes, located
from spoolhouse.events.shapes.otlp.values import (
    RecordError,
    all_nanoseconds,
    encode,
    identities,
    moments,
    of_any,
    plain,
)
from spoolhouse.events.shapes.shape import ShapedBatch, ShapeError

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


_KIND = ("severity_number", "severity_text", "flags", "event_name", "dropped_attributes_count")
"""The fields that a log's level and its `extra` come from, if its body is text."""


class Logs:
    """The logs of a line."""

    def __init__(self, line: Line) -> None:
        """Read logs of `line`."""
        self._line = line
        self._logs = Batch("log")

    def read(self, groups: Sequence[ResourceLogs]) -> Iterator[ShapedBatch]:
        """Yield the logs of several resources."""
        where: tuple[int, ...] = ()
        try:
            for outer, group in enumerate(groups):
                for inner, scoped in enumerate(group.scope_logs or ()):
                    where = outer, inner
                    if logs := scoped.log_records:
                        self._read(logs, self._line.producer(group, scoped, len(logs)))
        except ShapeError as error:
            raise located(error, ("resourceLogs", "scopeLogs", "logRecords"), where) from None
        yield from self._logs.shaped()

    def _read(self, logs: Sequence[LogRecord], producer: Producer) -> None:
        """Read the logs of one scope, column by column."""
        given = columns_of(logs)
        own = [plain(pairs) for pairs in given["attributes"]]
        timestamps, recorded = _times(given)
        messages, levels, extras = _bodies(logs, given, own, producer)
        columns: dict[str, Sequence[Any]] = {
            "trace_id": identities(given["trace_id"]),
            "span_id": identities(given["span_id"]),
            "level": levels,
            "message": messages,
            "timestamp": timestamps,
            "recorded_at": recorded,
            "attributes": producer.texts(own),
            "extra": extras,
        }
        self._logs.add(len(logs), columns, self._line.unknown_of(producer, len(logs), unknown_of(logs, given)))


def _times(given: Columns) -> tuple[Sequence[object], Sequence[object]]:
    """Return the times of logs, and when they were recorded. A log that has one of them alone has this as its time."""
    times = all_nanoseconds(given["time_unix_nano"], "timeUnixNano")
    observed = all_nanoseconds(given["observed_time_unix_nano"], "observedTimeUnixNano")
    recorded = moments(observed)
    if times == observed and all(times):
        return recorded, recorded
    times = [time or other for time, other in zip(times, observed, strict=True)]
    if not all(times):
        error = ShapeError("timeUnixNano", "required, or observedTimeUnixNano", is_missing=True)
        raise RecordError(times.index(0), error)
    return moments(times), recorded


def _bodies(
    logs: Sequence[LogRecord], given: Columns, own: Sequence[dict[str, Any]], producer: Producer
) -> tuple[list[str], list[str], list[str]]:
    """Return the messages, the levels, and the texts of `extra`. Logs that are alike but for a text share the last."""
    kinds = list(zip(*(given[name] for name in _KIND), strict=True))
    shared: dict[object, tuple[str, str]] = {}
    for kind, log in dict(zip(kinds, logs, strict=True)).items():
        kept = _kept(log, producer)
        shared[kind] = _level(log, kept), producer.extra_text(kept, {})
    levels, extras = (list(column) for column in zip(*[shared[kind] for kind in kinds], strict=True))
    messages = [body.string_value if body else None for body in given["body"]]
    odd = clashes(own)
    if None in messages:
        odd.update(place for place, text in enumerate(messages) if text is None)
    for place in odd:
        kept = _kept(logs[place], producer)
        _level(logs[place], kept)
        messages[place] = _message(logs[place], kept)
        extras[place] = producer.extra_text(kept, own[place])
    return messages, levels, extras  # type: ignore[return-value]  # no None any more


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
