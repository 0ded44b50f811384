"""A foreign shape, as a value: how other programs write events, and which events of ours these are.

A shape is a module of this package, and an entry in `SHAPES`. It knows keys and values, but neither tables nor rows:
`decode` makes the rows. There are three ways from a line to rows, and each makes the same rows of it. The times are
those of an event, by `make bench B=decode`; a clean span of ours takes 2 to 3 µs.

1. `read` takes the fields of any line of the shape and yields `ShapedEvent`s: values under our own keys, in any form
   that a producer of ours may write. The lenient reader (`decode/lenient`) converts and checks them field by field, as
   it does with lines of ours, and names the field at fault. Every shape has `read`. It takes 35 to 60 µs.
2. `quick` is for programs that write an event a line, all with a few known keys: Mastra's bus. It decodes 64 KiB of
   lines into typed structs in one call. For each `Form` that its events have, `decode/shaped_rows` compiles a function
   that makes a row of a struct. It takes 5 to 7 µs.
3. `batches` is for lines with many events: OTLP. The shape itself converts all values, and gives a `ShapedBatch`, which
   has values by column, for each type of event; `decode/shaped_batches` makes its rows. It takes 4 to 7 µs in documents
   of a hundred events, 20 in a document of one. `read` may yield batches, too.

Begin a new shape with `name`, `keys`, `matches` and `read`: it is then complete. Add `quick` or `batches` if it is too
slow. These raise any ValueError for a line that is not as usual, and `read` reads it.

JSON logs alone have a way of their own, in `decode/log_lines`. Their keys are whatever a program logs, so no struct can
be declared for them, and each field without a column stays in `attributes`, in the order of the line. Lines with the
same keys share a plan (`log_plan`), and are read column by column (`decode/log_columns`). It takes 2 to 6 µs a line,
and about 40 by `read`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct, field

Fields = Mapping[str, object]
"""By JSON key, a value: a `msgspec.Raw` (JSON that is not decoded yet) or a Python value."""


class ShapedEvent(NamedTuple):
    """One event of ours that a shape made of a line."""

    type: str
    """The event type's name."""
    fields: Fields
    """By the type's own keys, as inside an envelope; None and a JSON null are absence.

    A value may be of any type that a producer of ours might write: an id may be a number, a time digits. A column of
    any JSON takes a `Raw` byte for byte, and encodes a Python value.
    """
    unknown: Fields = {}  # noqa: RUF012  # nobody changes it
    """Unknown fields: counted by name, and kept in `extra` unless `events.unknown` says otherwise."""
    kept: Fields = {}  # noqa: RUF012  # nobody changes it
    """Known fields without a column: always kept in `extra`."""
    names: Mapping[str, str] = {}  # nobody changes it
    """By a key of ours, the line's own name of the field: for people to read why a line is rejected."""


class Form(Struct, frozen=True, kw_only=True, eq=False):
    """The fields of events of one kind: a function is compiled for each form."""

    type: str
    """The event type's name."""
    fields: Mapping[str, str]
    """By the type's own key, the attribute of the struct that has the value."""
    derived: tuple[str, ...] = ()
    """The type's own keys of values that come besides the struct."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """By JSON key, an attribute that no column takes: kept in `extra`, where it is not None."""
    names: Mapping[str, str] = field(default_factory=dict)
    """By a key of ours, the line's own name of a value, where `fields` does not have it."""
    without_unknown: "Form | None" = None
    """Of a form that keeps unknown fields, too: the form that drops them, for `events.unknown = drop`."""


FormedEvent = tuple[Form, Any, tuple[object, ...], Fields]
"""One event of ours whose values are attributes of a struct: its form, the struct, the derived values, and the
unknown fields. A plain tuple, because there may be one for each line. The form that a quick reader gives keeps the
unknown fields, too."""


def shaped(event: FormedEvent) -> ShapedEvent:
    """Return the same event by its fields."""
    form, struct, derived, unknown = event
    fields = {key: getattr(struct, name) for key, name in form.fields.items()}
    return ShapedEvent(
        form.type,
        fields | dict(zip(form.derived, derived, strict=True)),
        unknown,
        {key: value for key, name in form.kept.items() if (value := getattr(struct, name)) is not None},
        {**form.fields, **form.names},
    )


class QuickReader(Protocol):
    """Reads most lines of a shape, and faster than `Shape.read`. A ValueError means that this has to read a line."""

    def decode(self, line: bytes) -> Any:
        """Return a decoded line, for `events`."""
        ...

    def decode_lines(self, data: bytes) -> list[Any]:
        """Return the same of many lines, or raise a ValueError for all of them."""
        ...

    def events(self, decoded: Any) -> Sequence[FormedEvent]:
        """Return all events of a line, the same that `Shape.read` yields."""
        ...


class ShapedBatch(NamedTuple):
    """Many events of one type whose values are as a row has them. They are neither converted nor checked any more.

    That is: text; times with a zone, from 1970 to 2099; choices by our names; the text of JSON; numbers of a double.
    """

    type: str
    """The event type's name."""
    columns: Mapping[str, Sequence[object]]
    """By column, the values of the events, None for absence."""
    extra: Sequence[str]
    """By event, the JSON object that `extra` always has."""
    unknown: Mapping[int, Fields] = {}
    """By an event's place in the batch, its unknown fields."""
    converted: tuple[str, ...] = ()
    """The names that are counted as converted."""


class Shape(Struct, frozen=True, kw_only=True):
    """One way in which other programs write events.

    `read` yields all events of a line. It raises `ShapeError` if the line cannot be interpreted. If one event is
    refused, nothing of the line lands.
    """

    name: str
    """Lines are counted by it."""
    keys: frozenset[str]
    """Top-level keys at least one of which every line of the shape has. Lines without any of them cost nothing."""
    matches: Callable[[Fields], bool]
    """Whether a line with these top-level fields is of the shape."""
    read: Callable[[Fields], Iterator[ShapedEvent | ShapedBatch]]
    folders: frozenset[str] = field(default_factory=frozenset)
    """The folders in which lines may have the shape; empty: all."""
    batches: Callable[[bytes], Sequence[ShapedBatch]] | None = None
    """Reads lines that begin with one of `keys`, as `read` does, and faster. Any ValueError: `read` has to."""
    is_untyped: bool = False
    """Whether a line that names a type of ours is never of the shape."""
    ours: frozenset[str] = frozenset()
    """Keys of ours: a clean line that has one of them is not of an untyped shape."""
    about: str = ""
    """Its producers and the types that it becomes, in a few words for people."""
    becomes: Mapping[str, str] = field(default_factory=dict)
    """For people: by what stands in a line, what it becomes."""
    heads: frozenset[bytes] = field(default_factory=frozenset)
    """The bytes up to the second colon of lines that `quick` reads, in any folder."""
    quick: QuickReader | None = None


class ShapeError(ValueError):
    """A line of a shape cannot be read. `field` is the JSON key at fault, which may be missing."""

    def __init__(self, field: str, detail: str, *, is_missing: bool = False) -> None:
        """Keep the parts; `detail` is one short sentence for a person."""
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail
        self.is_missing = is_missing
