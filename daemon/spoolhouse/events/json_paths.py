"""The JSON keys that an event type is read from, as a tree of objects and values."""

from collections.abc import Iterator

from msgspec import Struct, field

from spoolhouse.events.declaration import Column, EventType, Fill, Key

MOST_ELEMENTS = 10_000
"""How many objects an array may have that each make a row."""
LONGEST_INHERITED = 512
"""Characters of the event that each of these rows may repeat: a line must not become gigabytes of rows."""
_NOT_READ = frozenset({Fill.TYPE, Fill.POSITION, Fill.NUMBER, Fill.YIELDING, Fill.EXTRA})


class Node(Struct):
    """The keys of one JSON object that are read."""

    values: dict[str, Column] = field(default_factory=dict)
    """By key, a column that the value may be for; any other one of that key is of the same kind."""
    objects: dict[str, "Node"] = field(default_factory=dict)
    arrays: dict[str, "Node"] = field(default_factory=dict)
    """Arrays of objects: what is read of each element."""

    def keys(self) -> Iterator[str]:
        """Yield every key that is read, in the same order for the same declaration."""
        yield from (*self.values, *self.objects, *self.arrays)

    def names(self) -> dict[str, str]:
        """Return a name for the value of each key that is an identifier, whatever the key is."""
        return {key: f"f{number}" for number, key in enumerate(self.keys())}

    def add(self, key: Key, column: Column) -> None:
        """Read `column` from `key`. ValueError if a key on the way is read in another way already."""
        *way, last = steps(key)
        node = self
        for step in way:
            if step in node.values or step in node.arrays:
                raise ValueError(f"{spelt(key)}: {step} is not read as an object elsewhere")
            node = node.objects.setdefault(step, Node())
        if last in node.objects or last in node.arrays:
            raise ValueError(f"{spelt(key)}: read as an object or an array of objects elsewhere")
        other = node.values.setdefault(last, column)
        if (other.kind, dict(other.choices)) != (column.kind, dict(column.choices)):
            raise ValueError(f"{spelt(key)}: read as {column.kind} here, and as {other.kind} elsewhere")


def steps(key: Key) -> tuple[str, ...]:
    """Return the keys that lead to a value, outermost first."""
    return (key,) if isinstance(key, str) else key


def spelt(key: Key) -> str:
    """Return a key for people to read."""
    return ".".join(steps(key))


def of_column(column: Column, *, enveloped: bool, wide: bool = False) -> tuple[Key, ...]:
    """Return the JSON keys that may hold the column, in order of precedence; none if it is not the event's to fill.

    `wide`: aliases, too.
    """
    if column.fill in _NOT_READ:
        return ()
    return column.keys + (column.envelope_keys if enveloped else ()) + (column.aliases if wide else ())


def tree(event: EventType, *, enveloped: bool, wide: bool = False) -> Node:
    """Return all that is read of an event's object. ValueError if two columns read one key in different ways."""
    root = Node()
    for part in event.parts:
        inner = root
        if part.each:
            if part.each in root.values or part.each in root.objects:
                raise ValueError(f"{part.each}: read as an array of objects, and as something else elsewhere")
            inner = root.arrays.setdefault(part.each, Node())
        for column in part.columns:
            for key in of_column(column, enveloped=enveloped, wide=wide):
                (root if column.inherited else inner).add(key, column)
    return root


def certain(event: EventType, *, enveloped: bool) -> frozenset[Key]:
    """Return the keys that no valid event of the type is without."""
    return frozenset(
        of_column(column, enveloped=enveloped)[0]
        for part in event.parts
        for column in part.columns
        if not part.each and not part.when and column.required and len(of_column(column, enveloped=enveloped)) == 1
    )
