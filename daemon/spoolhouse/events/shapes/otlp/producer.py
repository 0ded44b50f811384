"""The values that all rows of one scope share: of its resource, of the scope, and of the fields beside them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from spoolhouse.events.shapes.otlp.documents import Resource, ResourceGroup, Scope, ScopeGroup
from spoolhouse.events.shapes.otlp.values import RecordError, encode, plain, texts
from spoolhouse.events.shapes.shape import Fields, ShapedBatch, ShapeError

RESOURCE, SCOPE = "resource", "scope"
"""Where attributes, labels and metadata have them."""
NO_FIELDS: Mapping[Any, Any] = {}
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

    def texts(self, own: Sequence[dict[str, Any]]) -> list[str]:
        """Return the JSON of each record's attributes, with the resource and the scope, unless it has such keys."""
        if not self.attributes:
            return texts(own)
        after = f",{self.alone[1:]}"
        found = [text[:-1] + after if text != "{}" else self.alone for text in texts(own)]
        for place in clashes(own):
            found[place] = encode(own[place]).decode()
        return found

    def extra_text(self, kept: dict[str, Any], own: dict[str, Any]) -> str:
        """Return the text of a record's `extra`."""
        [text] = self.extras([{**self.kept, **kept}], [own])
        return text

    def extras(self, kept: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> list[str]:
        """Return the text of each record's `extra`; it has the resource and the scope if the attributes cannot.

        `kept` begins with the producer's fields. Records may share one object in it: it is encoded once.
        """
        if self.attributes and (clashing := clashes(own)):
            kept = [self._with_attributes(one) if place in clashing else one for place, one in enumerate(kept)]
        shared = list(map(id, kept))
        each = dict(zip(shared, kept, strict=True))
        if len(each) == len(kept):
            return texts(kept, _sorted_lines)
        written = dict(zip(each, texts(list(each.values()), _sorted_lines), strict=True))
        return [written[one] for one in shared]

    def _with_attributes(self, kept: dict[str, Any]) -> dict[str, Any]:
        found = kept.copy()
        for name, value in self.attributes.items():
            found[name] = {**found.get(name, {}), **(value if name == SCOPE else {"attributes": value})}
        return found


def clashes(own: Sequence[dict[str, Any]]) -> set[int]:
    """Return the places of the records whose attributes have a key that is called as the resource's or the scope's."""
    return {place for place, one in enumerate(own) if RESOURCE in one or SCOPE in one}


class Batch(Struct):
    """The events of one type that a line's records are, scope by scope."""

    type: str
    columns: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    unknown: dict[int, Fields] = field(default_factory=dict)
    count: int = 0

    def add(
        self, count: int, columns: Mapping[str, Iterable[object]], unknown: Mapping[int, Fields] = NO_FIELDS
    ) -> None:
        """Add the events of a scope. `unknown`: by their places in it, their unknown fields."""
        for name, values in columns.items():
            self.columns[name] += values
        for place, fields in unknown.items():
            self.unknown[self.count + place] = fields
        self.count += count

    def shaped(self) -> Iterator[ShapedBatch]:
        """Yield the events, if there are any."""
        if self.count:
            yield ShapedBatch(self.type, self.count, self.columns, self.unknown)


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

    def unknown_of(self, producer: Producer, count: int, own: Mapping[int, Fields]) -> Mapping[int, Fields]:
        """Return the unknown fields of a scope's records by their places, with those of the producer and the line."""
        if not (self.unknown or producer.unknown):
            return own
        found = {place: {**producer.unknown, **own.get(place, NO_FIELDS)} for place in range(count)}
        if count:
            found[0] = {**self.unknown, **found[0]}
            self.unknown = {}
        return found

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
    if isinstance(error, RecordError):
        where = (*where, error.place)
    steps = [f"{name}[{place}]" for name, place in zip(names, where, strict=False)]
    return ShapeError(".".join(filter(None, (*steps, error.field))), error.detail, is_missing=error.is_missing)
