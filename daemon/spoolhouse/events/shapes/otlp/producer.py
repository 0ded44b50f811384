"""The values that all rows of one scope share: of its resource, of the scope, and of the fields beside them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, field

from spoolhouse.events.shapes.otlp.documents import Resource, ResourceGroup, Scope, ScopeGroup
from spoolhouse.events.shapes.otlp.values import encode, plain, texts
from spoolhouse.events.shapes.shape import Fields, ShapedBatch, ShapeError

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

    def texts(self, own: Sequence[dict[str, Any]]) -> list[str]:
        """Return the JSON of each record's attributes, with the resource and the scope, unless it has such keys."""
        after = f",{self.alone[1:]}" if self.attributes else "}"
        return [
            (text if RESOURCE in one or SCOPE in one else text[:-1] + after) if one else self.alone
            for one, text in zip(own, texts(own), strict=True)
        ]

    def extras(self, kept: Sequence[dict[str, Any]], own: Sequence[dict[str, Any]]) -> list[str]:
        """Return the text of each record's `extra`; it has the resource and the scope if the attributes cannot.

        Records may share one object in `kept`: it is encoded once.
        """
        if self.attributes:
            kept = [
                self._with_attributes(fields) if RESOURCE in one or SCOPE in one else fields
                for fields, one in zip(kept, own, strict=True)
            ]
        each = {id(fields): fields for fields in kept}
        some = [{**self.kept, **fields} for fields in each.values()] if self.kept else list(each.values())
        written = dict(zip(each, texts(some, _sorted_lines), strict=True))
        return [written[id(fields)] for fields in kept]

    def _with_attributes(self, kept: dict[str, Any]) -> dict[str, Any]:
        found = {**self.kept, **kept}
        for name, value in self.attributes.items():
            found[name] = {**found.get(name, {}), **(value if name == SCOPE else {"attributes": value})}
        return found


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

    def unknown_of(self, producer: Producer, own: Mapping[int, Fields], rows: int) -> Mapping[int, Fields]:
        """Return the unknown fields of a scope's rows, by place. `own`: those of the records."""
        if rows and (self.unknown or producer.unknown):
            own = {place: {**producer.unknown, **own.get(place, {})} for place in range(rows)}
            own[0] = {**self.unknown, **own[0]}
            self.unknown = {}
        return own

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


class Batch:
    """The rows of one type that a line gives, by column; they come scope by scope."""

    def __init__(self, event: str, columns: Sequence[str]) -> None:
        """Begin without rows."""
        self._event = event
        self._columns: dict[str, list[Any]] = {name: [] for name in columns}
        self._extra: list[str] = []
        self._unknown: dict[int, Fields] = {}

    def add(self, columns: Iterable[Sequence[object]], extra: Sequence[str], unknown: Mapping[int, Fields]) -> None:
        """Add rows. `columns` are in order; `unknown` is by place."""
        before = len(self._extra)
        self._unknown |= {before + place: fields for place, fields in unknown.items()} if before else unknown
        self._extra += extra
        for column, more in zip(self._columns.values(), columns, strict=True):
            column.extend(more)

    def shaped(self) -> Iterator[ShapedBatch]:
        """Yield the batch, unless it is empty."""
        if self._extra:
            yield ShapedBatch(self._event, self._columns, self._extra, self._unknown)


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
