"""Levels of logs as libraries write them: by name or by number, and each library has its own numbers."""

import re
from collections.abc import Callable, KeysView

import msgspec

from spoolhouse.events.builtin import LOGS

_LEVEL = LOGS.column("level")
DEFAULT = "info"
"""The level of a log that names none, or an unknown one."""

_EXACT = {choice: choice for choice in _LEVEL.choices} | dict(_LEVEL.same)
_NEAR = {name: choice for name, choice in _LEVEL.near.items() if not name.isdigit()}
_WITH_OFFSET = re.compile(r"(debug|info|warn|error)[+-]\d{1,9}")
"""Levels between those of Go's slog."""
_NAMELESS = re.compile(r"level (\d{1,4})")
"""Levels of Python's logging that have no name."""

_PYTHON = ((20, "debug"), (30, "info"), (40, "warn"), (50, "error"))
_PINO = ((30, "debug"), (40, "info"), (50, "warn"), (60, "error"))
_OTEL = ((9, "debug"), (13, "info"), (17, "warn"), (21, "error"))
_SYSLOG = ((3, "fatal"), (4, "error"), (5, "warn"), (7, "info"))
_MOST_OTEL, _MOST_SYSLOG = 24, 7
_MOST_DIGITS = 9

_PYTHON_KEYS = frozenset({"levelno"})
_OTEL_KEYS = frozenset({"severityNumber", "severity_number", "SeverityNumber"})
_SYSLOG_KEYS = frozenset({"PRIORITY"})
_SYSLOG_MARKS = frozenset({"short_message"})
"""Of Graylog's format."""
_PINO_MARKS = frozenset({"pid", "hostname", "v"})
_PYTHON_MARKS = frozenset(
    {
        "levelname", "levelno", "asctime", "logger", "funcName", "lineno", "pathname", "processName", "threadName",
        "exc_info",
    }
)  # fmt: skip


class _Named(msgspec.Struct):
    """The level of loguru."""

    name: str


_named_of = msgspec.json.Decoder(_Named).decode


def of_json(text: str, numbers: Callable[[float], str], *, is_only: bool = False) -> tuple[str, bool] | None:
    """Return the level that a JSON text or number means, or loguru's object, and whether exactly that.

    None if that takes more than this. `is_only`: nothing else of the line may be its level.
    """
    if text.startswith("{"):
        try:
            return of_text(_named_of(text).name)
        except (ValueError, RecursionError):
            return None
    if "\\" in text:
        return None
    if text.startswith('"'):
        name = text[1:-1]
        if _is_number(name):
            return numbers(float(name)), False
        return of_text(name) or ((DEFAULT, False) if is_only and not name.strip().isdecimal() else None)
    return (numbers(float(text)), False) if text.isascii() and text.isdecimal() else None


def _is_number(text: str) -> bool:
    """Tell whether a text is a whole number as JSON writes it, with few enough digits to be a level."""
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and (text == "0" or text[0] != "0")


def is_ours(name: str) -> bool:
    """Tell whether a name, or the digits of a number, are a level in a line of ours too."""
    return name.strip().lower() in _EXACT or name.strip().lower() in _LEVEL.near


def of_text(text: str) -> tuple[str, bool] | None:
    """Return the level that a name means, and whether exactly that; None if it is unknown."""
    name = text.strip().lower()
    if name in _EXACT:
        return _EXACT[name], name == text.lower()
    if name in _NEAR:
        return _NEAR[name], False
    if found := _WITH_OFFSET.fullmatch(name):
        return found[1], False
    if found := _NAMELESS.fullmatch(name):
        return _within(int(found[1]), _PYTHON), False
    return None


def scale(key: str, line: KeysView[str]) -> Callable[[float], str]:
    """Return how the numbers under a key are read, in a line with these keys.

    It depends on the line: 30 is a warning of Python's logging, and nothing special to pino and bunyan.
    """
    if key in _OTEL_KEYS:
        return _otel
    if key in _PYTHON_KEYS:
        return _python
    if key in _SYSLOG_KEYS:
        return _syslog
    if not _SYSLOG_MARKS.isdisjoint(line):
        return _syslog_or_pino
    if not _PINO_MARKS.isdisjoint(line):
        return _pino
    return _otel_or_python if not _PYTHON_MARKS.isdisjoint(line) else _otel_or_pino


def _within(number: float, bounds: tuple[tuple[int, str], ...], last: str = "fatal") -> str:
    return next((level for bound, level in bounds if number < bound), last)


def _otel(number: float) -> str:
    return _within(number, _OTEL)


def _python(number: float) -> str:
    return _within(number, _PYTHON)


def _pino(number: float) -> str:
    return _within(number, _PINO)


def _syslog(number: float) -> str:
    return _within(number, _SYSLOG, "debug")


def _syslog_or_pino(number: float) -> str:
    return _syslog(number) if number <= _MOST_SYSLOG else _pino(number)


def _is_otel(number: float) -> bool:
    return 0 < number <= _MOST_OTEL and number % 10 != 0


def _otel_or_python(number: float) -> str:
    return _otel(number) if _is_otel(number) else _python(number)


def _otel_or_pino(number: float) -> str:
    return _otel(number) if _is_otel(number) else _pino(number)
