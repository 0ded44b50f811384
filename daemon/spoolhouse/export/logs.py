"""Logs of Python's `logging` and of structlog, as events of type `log`. The standard library alone.

logging.getLogger().addHandler(SpoolHandler("/var/spool/events", project="shop"))
structlog.configure(processors=[…, SpoolProcessor("/var/spool/events", project="shop"), …])
"""

import logging
import sys
import time
import traceback
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from spoolhouse.producer.encoding import lenient
from spoolhouse.producer.writer import SpoolWriter

_NUMBERS = ((20, "debug"), (30, "info"), (40, "warn"), (50, "error"))
"""Levels of `logging` are those of numbers below these; others are fatal."""
_NAMES = {
    "debug": "debug", "info": "info", "warning": "warn", "warn": "warn", "error": "error", "exception": "error",
    "err": "error", "critical": "fatal", "fatal": "fatal",
}  # fmt: skip
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
"""What each record has: all else was given as `extra`."""
_TRACE_IDS, _SPAN_IDS = ("trace_id", "traceId", "otelTraceID"), ("span_id", "spanId", "otelSpanID")
_NO_ID = frozenset({"", "0", "0" * 16, "0" * 32})


class SpoolHandler(logging.Handler):
    """Writes each record as a log: message, level, time; logger, place, exception and `extra` are its attributes.

    `trace_id` and `span_id` of `extra`, and those that OpenTelemetry's instrumentation of `logging` adds, are the log's
    own. A value that JSON lacks becomes its `repr`. Records become visible within a second, and at `flush` and `close`
    (`logging.shutdown` calls both). An OSError goes to `handleError`, like any error of a handler.
    """

    def __init__(self, spool: SpoolWriter | Path | str, *, project: str, level: int = logging.NOTSET) -> None:
        """Write into a spool's folder; or with a writer, which the handler does not close."""
        super().__init__(level)
        self._writer, self._is_own = _writer(spool)
        self._project = project

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            self._writer.write("log", self._project, lenient(_of_record(record)))
        except Exception:  # noqa: BLE001  # so handlers do: logging must not end the program
            self.handleError(record)

    def flush(self) -> None:
        """Make all records visible. Raises OSError."""
        self._writer.flush()

    def close(self) -> None:
        """Make all records visible, and take no more. Raises OSError."""
        super().close()
        if self._is_own:
            self._writer.close()
        else:
            self._writer.flush()


class SpoolProcessor:
    """A processor of structlog: writes each event dictionary as a log, and passes it on unchanged.

    `event` is the message, `level` (else the method's name) the level, `timestamp` (else now) the time, `trace_id` and
    `span_id` the ids; an `exc_info` becomes its traceback; all else are attributes. Put it before the renderer; with
    `last=True` it takes the renderer's place. An OSError goes to the program that logs.
    """

    def __init__(self, spool: SpoolWriter | Path | str, *, project: str, last: bool = False) -> None:
        """Write into a spool's folder, or with a writer."""
        self._writer, _ = _writer(spool)
        self._project = project
        self._is_last = last

    def __call__(self, _logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Write one event dictionary. Raises OSError; with `last`, `structlog.DropEvent`."""
        self._writer.write("log", self._project, lenient(_of_dictionary(event, method)))
        if self._is_last:
            from structlog import DropEvent  # noqa: PLC0415  # who calls this has it

            raise DropEvent
        return event

    def flush(self) -> None:
        """Make all logs visible. Raises OSError."""
        self._writer.flush()


def _writer(spool: SpoolWriter | Path | str) -> tuple[SpoolWriter, bool]:
    """Return the writer, and whether it was made here."""
    return (spool, False) if isinstance(spool, SpoolWriter) else (SpoolWriter(spool), True)


def _of_record(record: logging.LogRecord) -> dict[str, object]:
    given = vars(record)
    attributes: dict[str, object] = {
        "logger": record.name,
        "file": record.pathname,
        "line": record.lineno,
        "function": record.funcName,
        "thread": record.threadName,
        "process": record.process,
    }
    attributes |= {name: value for name, value in given.items() if name not in _STANDARD}
    ids = _ids(attributes)
    if record.exc_info and record.exc_info[1] is not None:
        attributes["exception"] = _exception(record.exc_info[1])
    elif record.exc_text:
        attributes["exception"] = {"stacktrace": record.exc_text}
    if record.stack_info:
        attributes["stack"] = record.stack_info
    level = next((level for bound, level in _NUMBERS if record.levelno < bound), "fatal")
    return {
        "type": "log", "timestamp": int(record.created * 1000), "level": level, "message": record.getMessage(), **ids,
        "attributes": attributes,
    }  # fmt: skip


def _of_dictionary(event: Mapping[str, Any], method: str) -> dict[str, object]:
    attributes: dict[str, object] = dict(event)
    level = str(attributes.pop("level", method)).lower()
    given = attributes.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if error is True:
        error = sys.exc_info()[1]
    ids = _ids(attributes)
    if isinstance(error, BaseException):
        attributes["exception"] = _exception(error)
    return {
        "type": "log",
        "timestamp": attributes.pop("timestamp", None) or time.time_ns() // 1_000_000,
        "level": _NAMES.get(level, "info"),
        "message": str(attributes.pop("event", "")),
        **ids,
        "attributes": attributes,
    }


def _exception(error: BaseException) -> dict[str, str]:
    """Return an exception under the names that OpenTelemetry gives its parts."""
    stack = "".join(traceback.format_exception(error))
    return {"type": type(error).__qualname__, "message": str(error), "stacktrace": stack}


def _ids(attributes: dict[str, object]) -> dict[str, object]:
    """Take the ids out of the attributes; return them under our names."""
    found: dict[str, object] = {}
    for name, keys in (("traceId", _TRACE_IDS), ("spanId", _SPAN_IDS)):
        for key in keys:
            value = attributes.pop(key, None)
            if value is not None and str(value) not in _NO_ID:
                found.setdefault(name, str(value))
    return found
