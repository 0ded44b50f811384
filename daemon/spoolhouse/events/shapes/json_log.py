"""A JSON log of any library, in a `log/` folder: a message and a time under one of many keys.

The level, the trace's and the span's id are searched in the same way. All other fields go to `attributes`, under
their own keys. A line of ours without a type is no such log: see `_is_ours`.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from spoolhouse.events.builtin import LOGS
from spoolhouse.events.shapes import log_levels
from spoolhouse.events.shapes.shape import Fields, Shape, ShapedEvent, ShapeError

MESSAGES = (
    "message", "msg", "event", "body", "log", "textPayload", "@message", "@m", "@mt", "M", "m", "formattedMessage",
    "RenderedMessage", "Message", "MessageTemplate", "MESSAGE", "Body", "short_message",
)  # fmt: skip
TIMES = (
    "timestamp", "time", "ts", "@timestamp", "asctime", "datetime", "t", "@t", "T", "Timestamp", "Time", "instant",
    "timeMillis", "timeUnixNano", "time_unix_nano", "__REALTIME_TIMESTAMP", "date",
)  # fmt: skip
_DATE = TIMES[-1]
"""Any log may have a date in it: it is the log's own time if there is no other one."""
LEVELS = (
    "level_name", "level", "severity", "levelname", "lvl", "log.level", "severityText", "severity_text", "log_level",
    "loglevel", "@level", "@l", "L", "l", "Level", "LogLevel", "SeverityText", "error_severity", "levelno",
    "severityNumber", "severity_number", "SeverityNumber", "PRIORITY",
)  # fmt: skip
TRACE_IDS = (
    "trace_id", "traceId", "traceID", "trace.id", "otelTraceID", "dd.trace_id", "logging.googleapis.com/trace",
    "TraceId", "@tr",
)  # fmt: skip
SPAN_IDS = (
    "span_id", "spanId", "spanID", "span.id", "otelSpanID", "dd.span_id", "logging.googleapis.com/spanId", "SpanId",
    "@sp",
)  # fmt: skip
"""Keys in order of precedence. One with a dot may also be a key of an object."""

FIRST_STEPS: Mapping[tuple[str, ...], frozenset[str]] = {
    keys: frozenset(step for key in keys for step in (key, key.partition(".")[0]))
    for keys in (LEVELS, TRACE_IDS, SPAN_IDS)
}
_OWN = frozenset(key for column in LOGS.columns for key in (*column.keys, *column.aliases) if isinstance(key, str))
_OUR_MARKS = _OWN - {*MESSAGES, *TIMES, *LEVELS, *TRACE_IDS, *SPAN_IDS, "id"}
_TIMES = frozenset(TIMES)
_SURE_TIMES = TIMES[:-1]
SECONDS, NANOS = "timestampSeconds", "timestampNanos"
INNER = ("record", "jsonPayload", "fields")
"""Objects with the message in them: of loguru, of Google Cloud's exported entries, and of Rust's tracing."""
BOUND = "extra"
"""In loguru's object, the values that a program has bound."""
_KEYS = frozenset({*MESSAGES, *TIMES, *LEVELS, *INNER, SECONDS})
PYTHON_MARKS = frozenset({"levelno", "levelname"})
_REQUIRED = frozenset({"message", "timestamp", "level"})
TYPES = frozenset({"type", "event_type", "data"})
"""Keys of lines that may name a type of ours, or be envelopes."""
TRACE_PATH = "/traces/"
_DATE_DIGITS, _MOST_DIGITS = 8, 20
_QUOTE, _BRACE, _NULL = b'"{n'
_NUMBERS = frozenset(b"-0123456789")
_NOTHING: Mapping[str, Raw] = {}

_object_of = msgspec.json.Decoder(dict[str, Raw]).decode
_text_of = msgspec.json.Decoder(str).decode
_number_of = msgspec.json.Decoder(int | float).decode


def _listed(keys: tuple[str, ...]) -> str:
    return f"{', '.join(keys[:-1])} or {keys[-1]}"


_NO_MESSAGE = f"no text under {_listed(MESSAGES[:5])}, and no level"
NO_TIME = f"no time under {_listed(TIMES[:7])}"


def _matches(fields: Fields) -> bool:
    return not _is_ours(fields)


def _is_ours(fields: Fields) -> bool:
    """Tell whether a line that names no type of ours is a log of ours nevertheless.

    It has a message, a time and a level under our keys, and either no other fields, or one that only we write; or it is
    an envelope.
    """
    if _first(fields.get("data")) == _BRACE and all(key not in fields for key in MESSAGES):
        return True
    if not _REQUIRED.issubset(fields):
        return False
    message = _first(fields["message"])
    if message != _QUOTE and message not in _NUMBERS:
        return False
    if not _first(fields["timestamp"]) or not _is_our_level(fields["level"]):
        return False
    return fields.keys() <= _OWN or not _OUR_MARKS.isdisjoint(fields)


def _is_our_level(value: object) -> bool:
    first = _first(value)
    if first == _QUOTE:
        return log_levels.is_ours(_text_of(value))  # type: ignore[arg-type]  # it is a Raw
    return first in _NUMBERS and log_levels.is_ours(bytes(value).decode())  # type: ignore[call-overload]  # it is a Raw


def read(fields: Fields) -> Iterator[ShapedEvent]:
    """Yield the log of a line, if it has a message and a time."""
    log = _Log(fields)
    message = log.message()
    time = log.time()
    event: dict[str, object] = {
        "message": message,
        "timestamp": time,
        "level": log.level(),
        "traceId": log.id(TRACE_IDS),
        "spanId": log.id(SPAN_IDS),
        "attributes": log.attributes(),
    }
    yield ShapedEvent("log", event)


def may_be_ours(keys: Collection[str]) -> bool:
    """Tell whether lines with these keys may be logs of ours, or of a type that they name."""
    return not TYPES.isdisjoint(keys) or have_our_keys(keys)


def have_our_keys(keys: Collection[str]) -> bool:
    """Tell whether lines with these keys may be logs of ours that name no type."""
    return _REQUIRED.issubset(keys) and (_OWN.issuperset(keys) or not _OUR_MARKS.isdisjoint(keys))


JSON_LOG = Shape(
    name="json_log",
    keys=_KEYS,
    matches=_matches,
    read=read,
    folders=frozenset({"log"}),
    is_untyped=True,
    ours=_OUR_MARKS,
    about="the JSON logs of any library (structlog, pino, zap, slog, …): logs",
    becomes={
        **{
            f"the first of {', '.join(f'`{key}`' for key in keys)}": f"`{name}`"
            for name, keys in (
                ("message", MESSAGES),
                ("timestamp", (*_SURE_TIMES, SECONDS, _DATE)),
                ("level", LEVELS),
                ("trace_id", TRACE_IDS),
                ("span_id", SPAN_IDS),
            )
        },
        "a level by another name or number": "the nearest `level`, its original in `attributes`; without one `info`",
        "`record` (loguru), `jsonPayload` (Google Cloud), `fields` (Rust's tracing)": "searched for the message, too",
        "all other fields": "`attributes`, under their own keys",
        "a `type` with the name of one of ours, without what that type requires": "`attributes`, too",
        "a level and a time, but no message": "an empty `message`, as pino and zerolog mean it",
        "no message and no level, or no time": "the line is rejected",
    },
)


class _Log:
    """One line. Fields that are used are removed from `_rest`."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._rest: dict[str, Any] = dict(fields)
        self._inner: Mapping[str, Any] = _NOTHING
        """The object that the message was found in, if it was not at the top."""
        self._bound: Mapping[str, Any] | None = None
        """Loguru's `extra` in that object, once it was needed."""
        self.keys: dict[str, str] = {}
        """Under which key of the line the message, the time and the level were found."""

    def message(self) -> object:
        """Return the message: the first text; else the first value of another kind under a key that only messages have.

        Without such a value it is empty if the line has a level. Raises `ShapeError` if it has no level either.
        """
        for key in MESSAGES:
            if key in self._fields and _first(self._fields[key]) == _QUOTE:
                self.keys["message"] = key
                return self._rest.pop(key)
        for name in INNER:
            if name not in self._fields:
                continue
            inner = _as_object(self._fields[name])
            for key in MESSAGES:
                if _first(inner.get(key)) == _QUOTE:
                    self._inner = inner
                    self._rest[name] = {one: value for one, value in inner.items() if one != key}
                    return inner[key]
        for key in ("message", "msg"):
            value = self._fields.get(key)
            if _first(value):
                del self._rest[key]
                return bytes(value).decode()  # type: ignore[call-overload]  # it is a Raw
        if any(_first(value) for _, value in _present(self._fields, LEVELS)):
            return ""
        raise ShapeError("message", _NO_MESSAGE, is_missing=True)

    def time(self) -> object:
        """Return the time. Raises `ShapeError` if there is none."""
        keys = times_of(self._fields, self._inner)
        for fields in (self._fields, self._inner):
            for key in () if _TIMES.isdisjoint(fields) else keys:
                value = fields.get(key)
                if value is None:
                    continue
                first = _first(value)
                if first == _BRACE:
                    parts = _as_object(value)
                    time = _of_parts(parts) or _of_parts(parts, "epochSecond", "nanoOfSecond")
                else:
                    time = _of_scalar(value)
                if time is not None:
                    if fields is self._fields:
                        if first != _BRACE:
                            self.keys["time"] = key
                        del self._rest[key]
                    return time
        if SECONDS in self._fields and (time := _of_parts(self._fields, SECONDS, NANOS)) is not None:
            del self._rest[SECONDS]
            self._rest.pop(NANOS, None)
            return time
        if not PYTHON_MARKS.isdisjoint(self._fields) and _first(self._fields.get("created")) in _NUMBERS:
            return self._rest.pop("created")
        raise ShapeError("timestamp", NO_TIME, is_missing=True)

    def level(self) -> str:
        """Return the level. Its original stays in the attributes if it means less or more."""
        for fields in (self._fields, self._inner):
            for key, value in _present(fields, LEVELS):
                if key in fields:
                    self.keys.setdefault("level", key)
                text: str | None = None
                first = _first(value)
                if first == _BRACE:
                    value = _as_object(value).get("name")  # noqa: PLW2901  # loguru's
                    first = _first(value)
                if first == _QUOTE:
                    text = _text_of(value)
                    found = log_levels.of_text(text)
                    if found is not None:
                        if found[1] and fields is self._fields:
                            self._take(key)
                        return found[0]
                if first in _NUMBERS or (text is not None and text.strip().isdecimal()):
                    number = _number(text.strip() if text is not None else bytes(value))
                    if number is not None:
                        return log_levels.scale(key, self._fields.keys())(number)
        return log_levels.DEFAULT

    def id(self, keys: tuple[str, ...]) -> object:
        """Return a trace's or a span's id; None if there is none, or only zeros."""
        if self._inner and self._bound is None:
            self._bound = _as_object(self._inner.get(BOUND))
        for fields in (self._fields, self._inner, self._bound or _NOTHING):
            if found := find_id(fields, keys):
                key, value = found
                if key and fields is self._fields:
                    self._take(key)
                return value
        return self._trace_path() if keys is TRACE_IDS else None

    def _trace_path(self) -> str | None:
        """Return the id in `projects/…/traces/…` of an entry that Google Cloud has exported."""
        value = self._fields.get("trace")
        if _first(value) != _QUOTE:
            return None
        _, path, last = _text_of(value).rpartition(TRACE_PATH)  # type: ignore[arg-type]  # it has a first byte
        return last if path and last else None

    def attributes(self) -> Mapping[str, object]:
        """Return all that was not taken. An object called `attributes` is opened, unless that hides something."""
        inner = _as_object(self._rest.get("attributes"))
        if inner:
            others = {key: value for key, value in self._rest.items() if key != "attributes"}
            if inner.keys().isdisjoint(others):
                return {**inner, **others}
        return self._rest

    def _take(self, key: str) -> None:
        """Take a value away, from an object too."""
        if self._rest.pop(key, None) is None:
            name, _, last = key.partition(".")
            inner = dict(self._rest[name] if isinstance(self._rest[name], dict) else _as_object(self._rest[name]))
            del inner[last]
            self._rest[name] = inner
            if not inner:
                del self._rest[name]


def times_of(fields: Collection[str], inner: Collection[str]) -> tuple[str, ...]:
    """Return the keys that the time may be under, in a line with these keys, and with these in its inner object."""
    is_of_python = "created" in fields and not PYTHON_MARKS.isdisjoint(fields)
    if is_of_python or SECONDS in fields or any(key in inner for key in _SURE_TIMES):
        return _SURE_TIMES
    return TIMES


def find_id(fields: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, object] | None:
    """Return the first id under one of `keys`, and that key; an empty key for an id that is a part of its value."""
    for key, value in _present(fields, keys):
        first = _first(value)
        if first == _QUOTE:
            text = _text_of(value)
            _, path, last = text.rpartition(TRACE_PATH)
            if path and last:
                return "", last
            if not is_zeros(text):
                return key, value
        elif first in _NUMBERS and value != Raw(b"0"):
            return key, value
    return None


def is_zeros(text: str) -> bool:
    """Tell whether an id is empty, or has no other digits than zeros."""
    return not text.removeprefix("0x").strip("0-")


def _present(fields: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the values under keys, also where a key with a dot is that of an object."""
    if FIRST_STEPS[keys].isdisjoint(fields):
        return
    for key in keys:
        value = fields.get(key)
        if value is None and "." in key:
            name, _, last = key.partition(".")
            if name in fields:
                value = _as_object(fields[name]).get(last)
        if value is not None:
            yield key, value


def _of_parts(fields: Mapping[str, Any], seconds: str = "seconds", nanos: str = "nanos") -> object:
    """Return the time of an object with seconds and nanoseconds, or with loguru's `timestamp`; None for another one."""
    if seconds in fields:
        whole, part = _digits(fields[seconds]), _digits(fields.get(nanos)) or "0"
        return f"{whole}.{part:>09}" if whole else None
    value = fields.get("timestamp")
    return value if _first(value) in _NUMBERS else None


def _of_scalar(value: object) -> object:
    """Return the time that a number or a text names; None for any other value.

    A text of digits is a number, unless it has eight: then it is a date.
    """
    first = _first(value)
    if first != _QUOTE:
        return value if first in _NUMBERS else None
    digits = _digits(value)
    if digits and len(digits) != _DATE_DIGITS and len(digits) <= _MOST_DIGITS:
        return int(digits)
    return value if value != Raw(b'""') else None


def _digits(value: object) -> str:
    """Return the digits of a whole number, or of a text; nothing for any other value."""
    text = bytes(value).decode().strip('"') if isinstance(value, Raw) else ""
    return text if text.isascii() and text.isdecimal() else ""


def _number(text: str | bytes) -> float | None:
    try:
        number: float = _number_of(text)
    except ValueError:
        return None
    return number


def _first(value: object) -> int:
    """Return the first byte of a value; 0 if it is absent or null."""
    first = bytes(value)[0] if isinstance(value, Raw) else 0
    return 0 if first == _NULL else first


def _as_object(value: object) -> dict[str, Any]:
    return _object_of(value) if isinstance(value, Raw) and bytes(value)[0] == _BRACE else {}
