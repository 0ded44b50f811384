"""A batch on its way into a store, or a part of one: the value that the insert stage and a store share."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from spoolhouse.decode.rows import Rows
from spoolhouse.events.declaration import Table
from spoolhouse.spool.shipment import Shipment


class BatchToLand(Struct, kw_only=True):
    """Rows that land as one, under an id that stands for these rows for all time."""

    id: str
    table: Table
    shipment: Shipment
    """Where they come from; with `replay`, another process may have landed them already, or begun to."""
    rows: Callable[[], AbstractAsyncContextManager[AsyncIterator[Rows]]]
    """Open the rows, all of them, from the start; as often as needed."""
    may_be_cut: bool = True
    """The stage can cut the batch, so that the store may ask for that with `TooLargeError`."""
    memory: object = None
    """The store's own notes between two attempts."""
