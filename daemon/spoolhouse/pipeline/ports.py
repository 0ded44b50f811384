"""The ports of the pipeline: Protocols that a store implements."""

from collections.abc import Collection
from typing import Protocol

from spoolhouse.events.declaration import Table
from spoolhouse.spool.batch import BatchToLand


class Store(Protocol):
    """Where rows land. It raises subclasses of `StoreError`.

    Several tasks use it at once, each with its batch. The insert stage is responsible for order, pauses, holding,
    cutting and the acknowledgement. The store makes a batch land once, however often it is sent.
    """

    def name(self, table: Table) -> str:
        """Return the name under which the store has a table: problems, metrics and logs call it so."""

    async def land(self, batch: BatchToLand) -> None:
        """Return once all rows of a batch are in the store, each once: in the first attempt, or after any number.

        A failed attempt may have landed some of the rows; the next one has to check. Each error asks for a decision:

        - `UnreachableError`: no server answers. Wait, then try again.
        - `AwayError`: this batch waits for one server, which may have it. Send other batches.
        - `TransientError`: the table refuses it for now. Wait, then try again.
        - `RejectedDataError`: a row is refused, and nothing of the batch has landed: it may be cut up.
        - `TooLargeError`: a smaller batch may land, and nothing of this one has. Only with `may_be_cut`.
        - `OperatorError`: a person has to change something. Hold the table, and try again now and then.
        """

    async def may_refuse(self, tables: Collection[Table]) -> bool:
        """Tell whether any of these tables may refuse a row that decode accepts. Raises `StoreError`."""

    async def check(self, batch: BatchToLand) -> None:
        """Raise `RejectedDataError` if a row of a batch would be refused. Nothing of it lands.

        Raises `TooLargeError` if the check of a smaller batch may succeed, `StoreError` if it cannot be made now.
        """


class SentBatches(Protocol):
    """Tells which batches of a shipment the store has."""

    async def find(self, shipment: str, tables: Collection[Table], /) -> Collection[str]:
        """Return the ids of its batches that have rows in any of `tables`. Raises `StoreError`."""
