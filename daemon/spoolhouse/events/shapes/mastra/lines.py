"""Lines of Mastra's bus: a `type` and one payload."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property, reduce
from operator import or_
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from spoolhouse.events.shapes.mastra.payload import NO_FIELDS, Payload, Reader, is_object, object_of, text_or_none
from spoolhouse.events.shapes.mastra.signals import FEEDBACK, LOG, METRIC, SCORE
from spoolhouse.events.shapes.mastra.spans import SPAN
from spoolhouse.events.shapes.shape import Fields, Form, FormedEvent, Shape, ShapedEvent, ShapeError, shaped

_MOST_LEARNED = 24
_LONGEST_LEARNED = 64
_BESIDE = "envelope"
"""In `extra`, the fields beside the payload."""

_PAYLOADS = (SPAN, LOG, METRIC, SCORE, FEEDBACK)
_TYPES = {payload.key: payload for payload in _PAYLOADS if payload is not SPAN} | dict.fromkeys(
    ("span_started", "span_updated", "span_ended"), SPAN
)
"""By `type`, the payload."""


class _Decoder(NamedTuple):
    """Decodes lines that have a payload alone, with the fields that are known and those that were learned."""

    decode: Callable[[bytes], Any]
    decode_lines: Callable[[bytes], list[Any]]
    learned: Mapping[str, tuple[str, ...]]
    """By the payload's key."""


def _decoder(learned: Mapping[str, tuple[str, ...]]) -> _Decoder:
    structs = {payload: payload.struct(closed=True, more=learned.get(payload.key, ())) for payload in _PAYLOADS}
    lines = [_line_struct(type_, payload, structs[payload], learned) for type_, payload in _TYPES.items()]
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(reduce(or_, lines))
    return _Decoder(decoder.decode, decoder.decode_lines, learned)


def _line_struct(
    type_: str, payload: Payload, content: type[msgspec.Struct], learned: Mapping[str, tuple[str, ...]]
) -> Any:
    """Return the struct of a line; `_Lines.events` reads its attribute `about`."""
    places = tuple((key, f"u{place}") for place, key in enumerate(learned.get(payload.key, ())))
    how: dict[str, Any] = {"tag_field": "type", "tag": type_, "forbid_unknown_fields": True, "gc": False}
    about = {"about": (type_, payload.read, places, _wider_forms(places))}
    return msgspec.defstruct(type_, [("payload", content)], rename={"payload": payload.key}, namespace=about, **how)


class _WiderForms(dict[Form, Form]):
    """By form, the one that keeps learned fields, too."""

    def __init__(self, places: tuple[tuple[str, str], ...]) -> None:
        """Keep these fields: pairs of a key and of the struct's attribute."""
        super().__init__()
        self._places = dict(places)

    def __missing__(self, form: Form) -> Form:
        self[form] = replace(form, kept={**form.kept, **self._places}, without_unknown=form)
        return self[form]


_wider_forms = cache(_WiderForms)
"""A payload that has learned nothing new keeps its forms, and so the functions that are compiled for them."""


class _Lines:
    """Reads most lines, and learns the new fields that Mastra adds to payloads now and then."""

    @cached_property
    def _decoder(self) -> _Decoder:
        """Replaced as a whole: several threads may use it."""
        return _decoder({})

    def decode(self, line: bytes) -> Any:
        """Return the struct of a line."""
        decoder = self._decoder
        try:
            return decoder.decode(line)
        except msgspec.ValidationError as error:
            if "unknown field" not in str(error) or not self._learn(decoder, line):
                raise
            return self._decoder.decode(line)

    def decode_lines(self, data: bytes) -> list[Any]:
        """Return the structs of many lines."""
        return self._decoder.decode_lines(data)

    @staticmethod
    def events(decoded: Any) -> Sequence[FormedEvent]:
        """Return the events of a line."""
        read: Reader
        type_, read, places, wider = decoded.about
        payload = decoded.payload
        if not places:
            return read(type_, payload, NO_FIELDS)
        unknown = {key: value for key, name in places if (value := getattr(payload, name)) is not None}
        events = read(type_, payload, unknown)
        if unknown:
            form, struct, derived, _ = events[0]
            events[0] = wider[form], struct, derived, unknown
        return events

    def _learn(self, decoder: _Decoder, line: bytes) -> bool:
        """Learn the fields of a line's payload; tell whether there was anything to learn."""
        fields = object_of(line)
        payload = _TYPES.get(_type_of(fields))
        if payload is None or not is_object(content := fields.get(payload.key)):
            return False
        known = decoder.learned.get(payload.key, ())
        fresh = object_of(content).keys() - {*payload.fields, *known}
        if not fresh or len(known) + len(fresh) > _MOST_LEARNED or max(map(len, fresh)) > _LONGEST_LEARNED:
            return False
        self._decoder = _decoder({**decoder.learned, payload.key: (*known, *sorted(fresh))})
        return True


@cache
def _payload_of(payload: Payload, *, exact: bool) -> Callable[[Raw], Any]:
    """Return the decoder of a payload."""
    return msgspec.json.Decoder(payload.struct(exact=exact)).decode


def _read(fields: Fields) -> Iterator[ShapedEvent]:
    """Read a line with values of any type."""
    type_ = _type_of(fields)
    payload = _TYPES[type_]
    content = fields[payload.key]
    if not is_object(content):
        raise ShapeError(payload.key, "not an object")
    unknown: dict[str, object] = {key: value for key, value in object_of(content).items() if key not in payload.fields}
    if beside := {key: value for key, value in fields.items() if key not in {"type", payload.key}}:
        unknown[_BESIDE] = beside
    try:
        struct = _payload_of(payload, exact=True)(content)
    except msgspec.ValidationError:
        struct = _payload_of(payload, exact=False)(content)
    for event in payload.read(type_, struct, unknown):
        yield shaped(event)


def _matches(fields: Fields) -> bool:
    """Tell whether a line is of the bus. A line of ours may have a field that is called as a payload is."""
    payload = _TYPES.get(_type_of(fields))
    if payload is None or payload.key not in fields:
        return False
    content = fields[payload.key]
    if payload is SPAN:
        return True
    is_alone = fields.keys() == {"type", payload.key}
    return is_object(content) and (is_alone or ("timestamp" in object_of(content) and "timestamp" not in fields))


def _type_of(fields: Fields) -> str:
    return text_or_none(fields.get("type")) or ""


MASTRA = Shape(
    name="mastra",
    keys=frozenset(payload.key for payload in _PAYLOADS),
    matches=_matches,
    read=_read,
    heads=frozenset(
        head % (type_.encode(), payload.key.encode())
        for head in (b'{"type":"%b","%b"', b'{"type": "%b", "%b"')
        for type_, payload in _TYPES.items()
    ),
    quick=_Lines(),
    about="Mastra's observability bus: spans, traces, logs, metrics, scores, feedback",
    becomes={
        "`exportedSpan` that started, was updated or ended": "a row of `spans`; of a root span one of `traces`, too, "
        "with its input, output and metadata. A later state replaces an earlier one, whichever comes first",
        "`log`, `metric`, `score`, `feedback`": "a row of the table of that type",
        "`correlationContext`": "ids of trace and span, user, experiment, organization, environment and service, where "
        "the event itself does not say",
        "`errorInfo`": "the status error",
        "`entityId`, `tags`, `costContext` and other fields without a column": "`extra`",
    },
)
