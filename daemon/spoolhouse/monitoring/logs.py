"""Logs: one line per event on standard error, JSON unless it is a terminal.

An event's name is a stable snake_case word, its data stands in keys: `log.info("file_settled", path=…, rows=…)`.
Data may hold names that are no UTF-8, escape sequences, bytes, NaN or a password: the event is still one line, moves
no cursor, and shows no secret.
"""

import json
import logging
import math
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path, PurePath
from typing import ClassVar, Literal
from urllib.parse import quote

import structlog
from structlog.processors import CallsiteParameter, CallsiteParameterAdder
from structlog.typing import EventDict, Processor, WrappedLogger

import spoolhouse

HIDDEN = "***"
_DEEPEST = 8
_MOST_KEYS = 1000
_FIRST_KEYS = ("timestamp", "level", "event")

_REPEAT_THEMSELVES = ("asynch", "clickhouse_driver")
"""Libraries that also log the exceptions they raise; we report those ourselves."""

_encode = json.JSONEncoder(separators=(",", ":")).encode

Format = Literal["auto", "json", "console"]


OWN = "spoolhouse"
"""The logger of `logging` that our events go to where a program has not configured structlog."""


def configure(*, level: str = "info", style: Format = "auto", secrets: Iterable[str] = ()) -> None:
    """Set up logging for the whole process; a later call replaces an earlier one.

    Logs and warnings of libraries pass from `warning` up, as the event `library_message`.
    """
    configure_events(level=level, style=style, secrets=secrets)
    root = logging.getLogger()
    root.handlers = [_Forward(logging.WARNING)]
    root.setLevel(logging.WARNING)
    for library in _REPEAT_THEMSELVES:
        logging.getLogger(library).setLevel(logging.WARNING if level == "debug" else logging.CRITICAL)
    logging.captureWarnings(capture=True)


def configure_events(*, level: str = "info", style: Format = "auto", secrets: Iterable[str] = ()) -> None:
    """Set up structlog alone, which our own events go through; the handlers of `logging` stay the program's.

    `level` is the least important level that is written. `secrets` are values that must not appear.
    """
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        Plain(secrets),
    ]
    if console:
        # Only a terminal gets colours: `console` output to a file is for reading too.
        processors += [_escape_controls, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), sort_keys=False)]
    else:
        processors.append(_to_json())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=StandardError,
        cache_logger_on_first_use=False,
    )


def pass_to_logging(secrets: Iterable[str]) -> None:
    """Within a program that has not configured structlog, pass our events on to `logging`, without these secrets.

    Else structlog would print them to standard output. The program's own events are left alone. A later configuration
    of the program replaces this: structlog still counts as not configured.
    """
    processors = structlog.get_config()["processors"]
    if not structlog.is_configured():
        processors[:] = [ToLogging(secrets), *(one for one in processors if not isinstance(one, ToLogging))]


class ToLogging:
    """A processor that passes the events of our own modules to `logging`, and leaves all others as they are."""

    _hidden: ClassVar[set[str]] = set()

    def __init__(self, secrets: Iterable[str]) -> None:
        """Hide `secrets`, and those that were given before: of several workers, the last processor alone is in use."""
        self._hidden.update(secrets)
        self._plain, self._folder = Plain(self._hidden), f"{Path(spoolhouse.__file__).parent}{os.sep}"
        self._place = CallsiteParameterAdder({CallsiteParameter.PATHNAME}, additional_ignores=[__name__])
        self._render = structlog.processors.KeyValueRenderer(key_order=["event"])

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Return an event of the program; raise `DropEvent` for one of ours, once `logging` has it."""
        if not str(self._place(logger, method, {})["pathname"]).startswith(self._folder):
            return event
        level = logging.ERROR if method == "exception" else logging.getLevelNamesMapping().get(method.upper(), 0)
        own = logging.getLogger(OWN)
        if own.isEnabledFor(level):
            event = structlog.processors.format_exc_info(logger, method, event)
            own.log(level, "%s", one_line(str(self._render(logger, method, self._plain(logger, method, event)))))
        raise structlog.DropEvent


class StandardError:
    """Writes lines to the `sys.stderr` of the moment: a live display replaces it while it is shown."""

    def __init__(self, *_names: str) -> None:
        """Ignore the names of `get_logger`; an event's own name is enough."""

    def msg(self, line: str) -> None:
        """Write one line; a log that cannot be written (a full disk, a closed pipe) stops no work."""
        if _together.lines is not None:
            _together.lines.append(f"{line}\n")
        else:
            _write(f"{line}\n")

    log = debug = info = warning = error = critical = exception = fatal = failure = err = warn = msg


class _Together(threading.local):
    """The lines that this thread has not written yet; None where each is written at once."""

    lines: list[str] | None = None


_together = _Together()


@contextmanager
def together() -> Iterator[None]:
    """Write the lines that this thread logs in the block at its end, at once. The block must not await."""
    _together.lines = []
    try:
        yield
    finally:
        lines, _together.lines = _together.lines, None
        _write("".join(lines))


def _write(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()


class Plain:
    """A processor that turns values into text, numbers, true, false, null, lists or objects; hides secrets."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Hide `secrets`, also in their URL-encoded form."""
        spellings = {spelling for secret in secrets if secret for spelling in (secret, quote(secret, safe=""))}
        # The longest first: one may be part of another.
        self._secrets = sorted(spellings, key=len, reverse=True)
        self._key = lru_cache(_MOST_KEYS)(self._text)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Return the event with plain values; timestamp, level and event come first."""
        plain = {key: self._plain(event.pop(key), 0) for key in _FIRST_KEYS if key in event}
        for key, value in event.items():
            # Most values: a file is logged with twelve of them.
            if value is None or type(value) is int:
                plain[self._key(key)] = value
            else:
                plain[self._key(key)] = self._text(value) if type(value) is str else self._plain(value, 0)
        return plain

    def _plain(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, str):
            return self._text(str(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return self._text(bytes(value).decode("utf-8", "backslashreplace"))
        if depth < _DEEPEST:
            if isinstance(value, Mapping):
                return {self._text(str(key)): self._plain(item, depth + 1) for key, item in value.items()}
            if isinstance(value, list | tuple | set | frozenset):
                return [self._plain(item, depth + 1) for item in value]
        return self._text(str(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text if text.isascii() else printable(text)


def is_reported(times: int) -> bool:
    """Return whether something that has happened so many times in a row is logged: the 1st, 2nd, 4th, 8th … time."""
    return times & (times - 1) == 0


def shown(text: str | PurePath) -> str:
    """Return text from data, a name or a server as one line that cannot control a terminal."""
    return one_line(printable(text))


def printable(name: str | PurePath) -> str:
    """Return a name as valid UTF-8: other bytes, and lone surrogates, become escapes."""
    text = str(name)
    try:
        text.encode()
    except UnicodeEncodeError:
        try:
            return os.fsencode(text).decode("utf-8", "backslashreplace")
        except UnicodeEncodeError:  # a surrogate that stands for no byte
            return text.encode("utf-8", "backslashreplace").decode()
    return text


def one_line(text: str) -> str:
    """Return the text with control characters escaped: hostile names must not move the cursor or fake lines."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    def escape(value: object) -> object:
        if isinstance(value, str):
            return one_line(value)
        return one_line(json.dumps(value)) if isinstance(value, dict | list) else value

    # A traceback keeps its line ends.
    return {
        key: "\n".join(map(one_line, str(value).split("\n"))) if key == "exception" else escape(value)
        for key, value in event.items()
    }


def _to_json() -> Processor:
    """Return the processor that writes a record as a line of JSON."""
    import msgspec  # noqa: PLC0415  # --help logs nothing

    encode = msgspec.json.encode

    def to_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
        try:
            line = encode(event)
        except (OverflowError, TypeError):  # a number of more than 64 bits, or of a library's own class
            return _encode(event)
        # In ASCII, for whoever reads it in another encoding.
        return line.decode() if line.isascii() else _encode(event)

    return to_json


class _Forward(logging.Handler):
    """Forwards the log records of libraries."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a library's own format string does not fit its arguments
            message = str(record.msg)
        structlog.get_logger().log(
            record.levelno, "library_message", library=record.name, message=message, exc_info=record.exc_info
        )
