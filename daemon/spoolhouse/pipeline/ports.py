"""What the pipeline needs from the outside, as Protocols."""

from typing import Protocol

from spoolhouse.events.declaration import Table
from spoolhouse.spool.batch import BatchToLand


class Store(Protocol):
    """Where rows land. All that it raises are subclasses of `StoreError`.

    Several tasks use it at once, each with a batch of its own. The stage keeps order, pauses, holding, cutting and the
    acknowledgement; a store knows how to make a batch land once, however often it is asked to.
    """

    def name(self, table: Table) -> str:
        """Return the name under which the store has a table: problems, metrics and logs call it so."""

    async def land(self, batch: BatchToLand) -> None:
        """Return once all rows of a batch are in the store, each once: in the first attempt, or after any number.

        An attempt that failed may have landed any part of it; the next one has to find out. Errors say what follows:

        - `UnreachableError`: no server answers. Wait, then try again.
        - `AwayError`: this batch waits for one server (it may be there), while others go on.
        - `TransientError`: the table refuses it for now. Wait, then try again.
        - `RejectedDataError`: a row is refused, and nothing of the batch has landed: it may be cut up.
        - `TooLargeError`: a smaller batch may land, and nothing of this one has. Only with `may_be_cut`.
        - `OperatorError`: a person has to change something. Hold the table, and try again now and then.
        """
