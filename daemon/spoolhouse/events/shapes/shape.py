"""A foreign shape, as a value."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
    """What the shape has no field for: kept in `extra`, counted by name."""


class ShapedBatch(NamedTuple):
    """Many events of one type whose values are as a row has them. They are neither converted nor checked any more.

    That is: text; times with a zone, from 1970 to 2099; choices by our names; the text of JSON; numbers of a double.
    """

    type: str
    """The event type's name."""
    columns: tuple[str, ...]
    values: Sequence[tuple[object, ...]]
    """By event, the values of these columns, None for absence; last, the JSON object that `extra` always has, or ""."""
    unknown: Mapping[int, Fields] = {}
    """By an event's place in the batch, what the shape has no field for."""
    converted: tuple[str, ...] = ()
    """What is counted as converted."""


class Place(NamedTuple):
    """Where a line stands."""

    type: str
    """The folder's event type."""
    project: str
    """The folder's project: also what an event without a project gets, so that a shape need not name it."""
    id: str
    """The line's derived id: what an event gets that names none; the n-th event of a line from the second on has
    `.n` after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One way in which other programs write events.

    `read` yields all events of a line. It raises `ShapeError` where nobody could interpret the line; if that or any
    event is refused, nothing of the line lands.
    """

    name: str
    """Lines are counted by it."""
    keys: frozenset[str]
    """Top-level keys at least one of which every line of the shape has. Lines without any of them cost nothing."""
    matches: Callable[[Fields, str], bool]
    """Whether a line with these top-level fields, in the folder of this event type, is of the shape."""
    read: Callable[[Fields, Place], Iterator[ShapedEvent | ShapedBatch]]
    folders: frozenset[str] = field(default_factory=frozenset)
    """The folders in which the shape is looked for; empty: all."""
    batches: Callable[[bytes], Sequence[ShapedBatch]] | None = None
    """Reads lines that begin with one of `keys`, as `read` does, and faster. Any ValueError: `read` has to."""
    is_untyped: bool = False
    """Whether a line that names a type of ours is never of the shape."""
    about: str = ""
    """Who writes it and what it becomes, in a few words for people."""


class ShapeError(ValueError):
    """A line of a shape cannot be read. `field` is the JSON key at fault, which may be missing."""

    def __init__(self, field: str, detail: str, *, is_missing: bool = False) -> None:
        """Keep the parts; `detail` is one short sentence for a person."""
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail
        self.is_missing = is_missing
