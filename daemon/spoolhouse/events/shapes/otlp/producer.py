"""The values that all rows of one scope share: of its resource, of the scope, and of the fields beside them."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from spoolhouse.events.shapes.otlp.documents import Resource, ResourceGroup, Scope, ScopeGroup
from spoolhouse.events.shapes.otlp.values import encode, plain, texts
from spoolhouse.events.shapes.shape import Fields, ShapeError

RESOURCE, SCOPE = "resource", "scope"
"""Where attributes, labels and metadata have them."""
_sorted_lines = msgspec.json.Encoder(order="sorted").encode_lines
MOST_REPEATED = 1 << 26
"""Bytes of resources, scopes and metrics that a line's rows may repeat: a line must not become gigabytes of rows."""
_TIMES_REPEATED = 20
"""How many times its own length a line may repeat: the rows of a piece of lines have to fit into one insert."""
MOST_RECORDS = 100_000
"""Spans, logs or data points of a line."""


class Producer(Struct, kw_only=True):
    """The values that all rows of one scope share."""

    attributes: dict[str, Any]
    """The attributes of the resource, and the scope."""
    kept: dict[str, Any]
    """For `extra`."""
    unknown: dict[str, Any]
    """Unknown fields."""
    alone: str
    """The attributes as JSON: those of a row that has no others."""
    extra_texts: dict[int, str] = field(default_factory=dict)
    """The text of `extra` by flags, for records that have nothing else for it."""

    def texts(self, own: Sequence[dict[str, Any]]) -> list[str]:
        """Return the JSON of each record's attributes, with the resource and the scope, unless it has such keys."""
        after = f",{self.alone[1:]}" if self.attributes else "}"
        return [
            (text if RESOURCE in one or SCOPE in one else text[:-1] + after) if one else self.alone
            for one, text in zip(own, texts(own), strict=True)
        ]

    def extra_text(self, kept: dict[str, Any], own: dict[str, Any]) -> str:
        """Return the text of a record's `extra`."""
        [text] = self.extras([{**self.kept, **kept}], [own])
        return text

    def extras(self, kept: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> list[str]:
        """Return the text of each record's `extra`; it has the resource and the scope if the attributes cannot.

        `kept` begins with the producer's fields. Records may share one object in it: it is encoded once.
        """
        if self.attributes:
            kept = [
                self._with_attributes(extra) if RESOURCE in one or SCOPE in one else extra
                for extra, one in zip(kept, own, strict=True)
            ]
        each = {id(extra): extra for extra in kept}
        if len(each) == len(kept):
            return texts(kept, _sorted_lines)
        written = dict(zip(each, texts(list(each.values()), _sorted_lines), strict=True))
        return [written[id(extra)] for extra in kept]

    def _with_attributes(self, kept: dict[str, Any]) -> dict[str, Any]:
        found = kept.copy()
        for name, value in self.attributes.items():
            found[name] = {**found.get(name, {}), **(value if name == SCOPE else {"attributes": value})}
        return found


class Batch(Struct):
    """Records of one scope, before their JSON is encoded for all of them at once."""

    producer: Producer
    values: list[tuple[object, ...]] = field(default_factory=list)
    """By record, its columns but for the attributes."""
    own: list[dict[str, Any]] = field(default_factory=list)
    """Its attributes."""
    kept: list[dict[str, Any]] = field(default_factory=list)
    """Its fields in `extra`, with those of the producer."""

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield each record's columns, its attributes, and its `extra`."""
        attributes, extras = self.producer.texts(self.own), self.producer.extras(self.kept, self.own)
        for values, text, extra in zip(self.values, attributes, extras, strict=True):
            yield (*values, text, extra)


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

    def unknown_of(self, producer: Producer, own: Fields) -> Fields:
        """Return the unknown fields of a row."""
        if not (self.unknown or producer.unknown):
            return own
        unknown = {**self.unknown, **producer.unknown, **own}
        self.unknown = {}
        return unknown

    def producer(self, group: ResourceGroup, scoped: ScopeGroup, records: int) -> Producer:
        """Return the values that the records of a scope share; raises `ShapeError` if they are too large."""
        self.records += records
        if self.records > MOST_RECORDS:
            raise ShapeError("", f"more than {MOST_RECORDS} records")
        producer = _producer(group, scoped)
        self.repeat((producer.attributes, producer.kept, producer.unknown), records, RESOURCE)
        return producer

    def repeat(self, values: Sequence[object], rows: int, name: str) -> None:
        """Count the bytes that several rows repeat; raises `ShapeError` if there are too many."""
        self.repeated += rows * len(encode(values))
        if self.repeated > min(MOST_REPEATED, _TIMES_REPEATED * self.size):
            raise ShapeError(name, f"would be repeated in {rows} rows, and is too long for that")


def _producer(group: ResourceGroup, scoped: ScopeGroup) -> Producer:
    resource, scope = group.resource or Resource(), scoped.scope or Scope()
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
    unknown: dict[str, Any] = {}
    for name, message in ((RESOURCE, group), (RESOURCE, resource), (SCOPE, scoped), (SCOPE, scope)):
        unknown |= {f"{name}.{key}": value for key, value in message.unknown.items()}
    return Producer(
        attributes=attributes,
        kept={key: value for key, value in kept.items() if value},
        unknown=unknown,
        alone=encode(attributes).decode(),
    )


def present(**values: object) -> dict[str, Any]:
    """Return the values that are not None, by name."""
    return {name: value for name, value in values.items() if value is not None}


def located(error: ShapeError, names: Sequence[str], where: Sequence[int]) -> ShapeError:
    """Return an error with the whole path to its field: the places in the arrays of these names."""
    steps = [f"{name}[{place}]" for name, place in zip(names, where, strict=False)]
    return ShapeError(".".join(filter(None, (*steps, error.field))), error.detail, is_missing=error.is_missing)
