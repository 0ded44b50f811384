"""From a declaration to the function that turns its structs into rows.

The function is compiled, as dataclasses compile `__init__`, because a loop over the columns of each event would cost
more than all the rest.
"""

from codecs import utf_8_decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from spoolhouse.decode import times, usage, values, wide_values
from spoolhouse.decode.reject import Reason, RefusedError, RejectedLineError
from spoolhouse.decode.row_source import Writer
from spoolhouse.decode.rows import Row
from spoolhouse.decode.structs import Shape
from spoolhouse.events.declaration import EventType

StrictRows = Callable[[Sequence[Any], datetime, str, datetime, datetime, bool], tuple[tuple[list[Row], ...], int, int]]
"""Strict structs of one type, the shipment's clock, the folder's project, two bounds, and whether events of another
project are rejected → the rows for each table in the order of the lines, how many events are of another project, and 1
if any event's time is not within the bounds. A ValueError means that another reader has to read these lines."""
WideRows = Callable[[Any, datetime, str, str, int, list[str]], Any]
"""A wide struct, the shipment's clock, the folder's project, the start of derived ids, the line's offset, and a list
that takes the keys whose values were converted → the rows for each table, or the row itself of an event type that only
ever gives one. A ValueError means that another reader has to read the line."""
ManyRows = Callable[
    [Sequence[Any], Iterable[int], Callable[[Any], bool], datetime, str, str, datetime, datetime, bool, list[str]],
    tuple[tuple[list[Row], ...], int, int, int],
]
"""Wide structs, the offsets of their lines, whether a struct is of this type, and what the others take → what the
strict function returns, and in how many events values were converted."""
OpenRows = Callable[[Any, datetime, str, str, int, list[str], Mapping[str, object], dict[str, object]], Any]
"""The same for an open struct. Also takes the fields that no column takes, and a dict for the originals of values that
are converted with loss."""


def strict_rows(event: EventType, shape: Shape) -> StrictRows:
    """Compile the function for strict structs."""
    return cast("StrictRows", _compiled(event, shape))


def wide_rows(event: EventType, shape: Shape) -> WideRows:
    """Compile the function for one wide struct."""
    return cast("WideRows", _compiled(event, shape))


def many_rows(event: EventType, shape: Shape) -> ManyRows:
    """Compile the function for many wide structs."""
    return cast("ManyRows", _compiled(event, shape))


def open_rows(event: EventType, shape: Shape) -> OpenRows:
    """Compile the function for one open struct."""
    return cast("OpenRows", _compiled(event, shape))


def _compiled(event: EventType, shape: Shape) -> object:
    writer = Writer(event, shape)
    source = writer.source()
    scope: dict[str, object] = {
        "datetime": datetime,
        "earliest": times.EARLIEST,
        "latest": times.LATEST,
        "naive_earliest": times.NAIVE_EARLIEST,
        "time_of": times.from_parsed,
        "text_time_of": wide_values.time,
        "RefusedError": RefusedError,
        "RejectedLineError": RejectedLineError,
        "missing": Reason.MISSING_FIELD,
        "choice_of": wide_values.choice,
        "extra_of": values.extra_of,
        "elapsed": times.elapsed,
        "yielding": times.yielding,
        "scalar_of": values.scalar,
        "any_of": values.text_or_json,
        "number_of": values.number_or_none,
        "int_of": wide_values.integer,
        "float_of": wide_values.number,
        "str_of": wide_values.text,
        "usage_of": usage.of_attributes,
        "no_usage": usage.NONE,
        # Cheaper than str(raw, "utf-8"). It would pass over a character cut off at the end, but JSON ends in ASCII.
        "utf_8_decode": utf_8_decode,
        **writer.scope,
    }
    exec(source, scope)  # noqa: S102  # source of our own making, see the docstring
    return scope["rows"]
