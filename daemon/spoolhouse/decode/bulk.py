"""Reading many lines in one call of the JSON decoder, where all of them are clean and of one shape."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, reduce
from io import BytesIO
from itertools import groupby
from operator import or_
from typing import Any, TypeVar

import msgspec

from spoolhouse.decode.row_compiler import StrictRows, strict_rows
from spoolhouse.decode.structs import Shape, struct
from spoolhouse.events.declaration import EventType

S = TypeVar("S")
T = TypeVar("T")

_BLANK = b" \t\r\n"
_OPEN, _CLOSE = b"{}"


class Bulk:
    """The strict readers of one shape, made when the first piece of lines is tried as such."""

    def __init__(self, events: Mapping[str, EventType], shape: Shape) -> None:
        self._events = events
        self._shape = shape
        self._rows: dict[str, StrictRows] = {}

    @cached_property
    def names(self) -> Mapping[type, str]:
        """The event type of each struct."""
        return {struct(event, self._shape): name for name, event in self._events.items()}

    @cached_property
    def decode_lines(self) -> Callable[[bytes], list[Any]]:
        """The decoder of whole pieces; any ValueError means that not all lines are of this shape."""
        return msgspec.json.Decoder(reduce(or_, self.names)).decode_lines

    def rows(self, name: str) -> StrictRows:
        """Return the function that makes rows of an event type's structs."""
        if name not in self._rows:
            self._rows[name] = strict_rows(self._events[name], self._shape)
        return self._rows[name]

    def groups(self, events: Sequence[Any]) -> Iterable[tuple[str, Sequence[Any]]]:
        """Return the events by their type, so that the rows for each table come in the order of their lines."""
        kinds = dict.fromkeys(map(type, events))
        if len(kinds) == 1:
            return [(self.names[kind], events) for kind in kinds]
        tables = [table for kind in kinds for table in self._events[self.names[kind]].tables]
        if len(set(tables)) < len(tables):
            return [(self.names[kind], list(run)) for kind, run in groupby(events, type)]
        groups: dict[str, list[Any]] = {self.names[kind]: [] for kind in kinds}
        for event in events:
            groups[self.names[type(event)]].append(event)
        return groups.items()


def deep(frames: int, function: Callable[[S], T], data: S) -> T:
    """Call `function` that many frames deeper in the stack.

    The decoder's limit on nesting depends on the depth of the stack. A line that is refused alone must not be taken in
    bulk.
    """
    return deep(frames - 1, function, data) if frames else function(data)


def one_object_a_line(data: bytes, count: int) -> bool:
    """Tell whether `data`, in which `count` objects were decoded, has one of them on each line that is not blank.

    To the decoder line ends are white space: an object may contain some, and two objects may share a line. Inside an
    object no `{` can follow on a `}`.
    """
    for line in BytesIO(data):
        if line[0] != _OPEN or line[-2] != _CLOSE:
            content = line.strip(_BLANK)
            if not content:
                continue
            if content[0] != _OPEN or content[-1] != _CLOSE:
                return False
        count -= 1
    return count == 0
