"""The values that all rows of one scope share: of its resource, of the scope, and of the fields beside them."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from spoolhouse.events.shapes.otlp import tolerant
from spoolhouse.events.shapes.otlp.documents import Resource, ResourceGroup, Scope, ScopeGroup, Top
from spoolhouse.events.shapes.otlp.values import encode, encode_sorted, plain, texts
from spoolhouse.events.shapes.shape import Fields, ShapeError

RESOURCE, SCOPE = "resource", "scope"
"""Where attributes, labels and metadata have them."""
MOST_REPEATED = 1 << 26
"""Bytes of resources, scopes and metrics that a line's rows may repeat: a line must not become gigabytes of rows."""
_TIMES_REPEATED = 20
"""How many times its own length a line may repeat: the rows of a piece of lines have to fit into one insert."""
MOST_RECORDS = 100_000
"""Spans, logs or data points of a line."""
_LONGEST_PRODUCER, _MOST_OPEN = 4096, 256
"""The most bytes of a producer that is remembered, and its most objects and arrays."""
_LARGEST_KNOWN, _MOST_REMEMBERED, _AROUND = 1 << 14, 1 << 24, 512
"""The most bytes of a value that a producer remembers, of all that is remembered, and what each value takes besides."""
TIMES_ITS_JSON = 8
"""How many bytes objects take for each of their JSON, at most."""

M = TypeVar("M", Resource, Scope)


class Producer(Struct, kw_only=True):
    """The values that all rows of one scope share. Several threads may use it."""

    attributes: dict[str, Any]
    """The attributes of the resource, and the scope."""
    kept: dict[str, Any]
    """For `extra`."""
    unknown: dict[str, Any]
    """Unknown fields."""
    alone: str
    """The attributes as JSON: those of a row that has no others."""
    written: dict[str, Raw]
    """The attributes, each as JSON: a record's own attributes are joined with it, unless they have such keys."""
    size: int
    """The bytes of all this as JSON."""
    known: dict[object, Any] = field(default_factory=dict)
    """What `remember` got."""

    def remember(self, key: object, value: Any, size: int) -> None:
        """Keep in `known` what records with the values of `key` share; `size`: about the bytes of both."""
        if size <= _LARGEST_KNOWN:
            _remembered.make_room(size)
            self.known[key] = value

    def with_attributes(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Return the fields for `extra` with the resource and the scope, which a record's attributes cannot have."""
        found = kept.copy()
        for name, value in self.attributes.items():
            found[name] = {**found.get(name, {}), **(value if name == SCOPE else {"attributes": value})}
        return found


class Extras:
    """The text of `extra` by record."""

    def __init__(self) -> None:
        """Begin without records."""
        self.texts: list[str] = []
        self._kept: dict[int, dict[str, Any]] = {}

    def keep(self, kept: dict[str, Any], own: dict[str, Any], producer: Producer) -> None:
        """Add a record with these fields, among them the producer's; `own`: its attributes."""
        is_odd = RESOURCE in own or SCOPE in own
        self._kept[len(self.texts)] = producer.with_attributes(kept) if is_odd else kept
        self.texts.append("{}")

    def written(self) -> list[str]:
        """Return the texts, after encoding all at once."""
        kept = self._kept
        for place, text in zip(kept, texts(list(kept.values()), encode_sorted) if kept else (), strict=True):
            self.texts[place] = text
        return self.texts


class Line(Struct):
    """The counts of a line while it is read."""

    size: int
    """Its length."""
    records: int = 0
    repeated: int = 0
    converted: list[str] = field(default_factory=list)
    """Fields whose values no column can express."""
    unknown: dict[str, Any] = field(default_factory=dict)
    """Unknown fields at the top of the line: its first row keeps them."""
    without_row: dict[str, Any] = field(default_factory=dict)
    """Unknown fields of resources, scopes and metrics that have no rows: they are counted."""

    def unknown_of(self, producer: Producer, own: Fields) -> Fields:
        """Return the unknown fields of a row."""
        if not (self.unknown or producer.unknown):
            return own
        unknown = {**self.unknown, **producer.unknown, **own}
        self.unknown = {}
        return unknown

    def note_unknown(self, producer: Producer, records: Sequence[Top], first: int, found: dict[int, Fields]) -> None:
        """Put the unknown fields of records into `found`, by their places from `first` on."""
        is_any = bool(self.unknown or producer.unknown)
        for place, own in enumerate(records[0].unknown_of(records) if records else (), first):
            if is_any:
                found[place] = self.unknown_of(producer, own or {})
            elif own:
                found[place] = own

    def producer(self, group: ResourceGroup, scoped: ScopeGroup, records: int) -> Producer:
        """Return the values that the records of a scope share; raises `ShapeError` if they are too large."""
        self.records += records
        if self.records > MOST_RECORDS:
            raise ShapeError("", f"more than {MOST_RECORDS} records")
        producer = _known_producer(group, scoped)
        if producer.unknown and not records:
            self.without_row |= producer.unknown
        self.repeat(producer.size, records, RESOURCE)
        return producer

    def repeat(self, size: int, rows: int, name: str) -> None:
        """Count the bytes that several rows repeat; raises `ShapeError` if there are too many."""
        self.repeated += rows * size
        if self.repeated > min(MOST_REPEATED, _TIMES_REPEATED * self.size):
            raise ShapeError(name, f"would be repeated in {rows} rows, and is too long for that")


_Key = tuple[bytes, str | None, bytes, str | None]
"""A resource and a scope as they are written, each with its `schemaUrl`."""


class _Remembered:
    """The producers of the last lines, because most lines repeat a resource and a scope. Threads share it."""

    def __init__(self) -> None:
        self.producers: dict[_Key, Producer] = {}
        self._size = 0

    def make_room(self, size: int) -> None:
        """Forget all producers if another value of this size would be too much."""
        self._size += _AROUND + size
        if self._size > _MOST_REMEMBERED:
            self.producers = {}
            self._size = 0


_remembered = _Remembered()


def _known_producer(group: ResourceGroup, scoped: ScopeGroup) -> Producer:
    resource: Any = group.resource
    scope: Any = scoped.scope
    if isinstance(resource, Resource) or isinstance(scope, Scope):
        return _producer(group, scoped, resource or Resource(), scope or Scope())
    key = bytes(resource or b""), group.schema_url, bytes(scope or b""), scoped.schema_url
    is_bare = not (group.unknown or scoped.unknown)
    producer = _remembered.producers.get(key) if is_bare else None
    if producer is None:
        producer = _producer(group, scoped, _read(key[0], Resource), _read(key[2], Scope))
        if is_bare and _is_small(key[0] + key[2]) and producer.size <= _LONGEST_PRODUCER:
            _remembered.make_room(TIMES_ITS_JSON * producer.size)
            _remembered.producers[key] = producer
    return producer


def _is_small(written: bytes) -> bool:
    """Tell whether what was written so may be remembered.

    It is nested so little that reading it again could never fail for that, wherever it were read.
    """
    return len(written) <= _LONGEST_PRODUCER and written.count(b"{") + written.count(b"[") <= _MOST_OPEN


def _read(written: bytes, kind: type[M]) -> M:
    """Return a resource or a scope; raises a ValueError if it is none."""
    if not written:
        return kind()
    try:
        return msgspec.json.decode(written, type=kind, strict=False)
    except msgspec.ValidationError:
        message: M
        [message] = tolerant.read([msgspec.json.decode(written)], kind, "")
        return message


def _producer(group: ResourceGroup, scoped: ScopeGroup, resource: Resource, scope: Scope) -> Producer:
    attributes: dict[str, Any] = {}
    if own := plain(resource.attributes):
        attributes[RESOURCE] = own
    about = present(name=scope.name or None, version=scope.version or None, attributes=plain(scope.attributes) or None)
    if about:
        attributes[SCOPE] = about
    kept = {
        RESOURCE: present(
            schemaUrl=group.schema_url or None,
            droppedAttributesCount=resource.dropped_attributes_count or None,
            entityRefs=resource.entity_refs or None,
        ),
        SCOPE: present(
            schemaUrl=scoped.schema_url or None,
            droppedAttributesCount=scope.dropped_attributes_count or None,
        ),
    }
    kept = {key: value for key, value in kept.items() if value}
    unknown: dict[str, Any] = {}
    for name, message in ((RESOURCE, group), (RESOURCE, resource), (SCOPE, scoped), (SCOPE, scope)):
        unknown |= {f"{name}.{key}": value for key, value in (message.unknown or {}).items()}
    return Producer(
        attributes=attributes,
        kept=kept,
        unknown=unknown,
        alone=encode(attributes).decode(),
        written={name: Raw(encode(value)) for name, value in attributes.items()},
        size=len(encode((attributes, kept, unknown))),
    )


def present(**values: object) -> dict[str, Any]:
    """Return the values that are not None, by name."""
    return {name: value for name, value in values.items() if value is not None}


def located(error: ShapeError, names: Sequence[str], where: Sequence[int]) -> ShapeError:
    """Return an error with the whole path to its field: the places in the arrays of these names."""
    steps = [f"{name}[{place}]" for name, place in zip(names, where, strict=False)]
    return ShapeError(".".join(filter(None, (*steps, error.field))), error.detail, is_missing=error.is_missing)
