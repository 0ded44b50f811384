"""The port of a run to its store: what the service needs of one, besides landing batches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from spoolhouse.errors import OperatorError
from spoolhouse.events.declaration import EventType, Table
from spoolhouse.pipeline.ports import SentBatches, Store
from spoolhouse.settings import Settings
from spoolhouse.spool.lineage import Entry

if TYPE_CHECKING:
    from spoolhouse.query.ports import Reader

NOTHING_REFUSED: Mapping[str, OperatorError] = MappingProxyType({})


class DiffersError(OperatorError):
    """A table or one of its rollups differs from its declaration, and a migration may not change it."""


class OwnFile(Struct, frozen=True, kw_only=True):
    """A database that no other process can open while the run has it, and what answers questions from it."""

    path: Path
    table_prefix: str
    reader: "Reader"


class Backend(Protocol):
    """The store of a run. All its coroutines raise `StoreError`."""

    @property
    def title(self) -> str:
        """The store's name for people."""

    @property
    def store(self) -> Store:
        """What the pipeline lands batches in."""

    @property
    def sent(self) -> SentBatches:
        """What knows which batches have landed."""

    @property
    def patience(self) -> float:
        """Seconds that one statement may take until it is broken off."""

    @property
    def own_file(self) -> OwnFile | None:
        """The file that is open to this process alone; None where other processes can ask the store themselves."""

    def take_over(self, settings: Settings, *, fingerprint: str) -> None:
        """Put reloaded settings in force, and the fingerprint that they and the event types give."""

    async def ping(self) -> None:
        """Return once the store answers."""

    async def prepare(self, events: Mapping[str, EventType]) -> Mapping[str, OperatorError]:
        """Bring the schema up to date, where that is wanted; wait for nothing.

        Returns the event tables with a difference that only a person may resolve.
        """

    async def unsafe_tables(
        self, events: Mapping[str, EventType], refused: Mapping[str, OperatorError]
    ) -> Mapping[str, OperatorError]:
        """Return the tables that must take no rows, by the names that `Store.name` gives; `refused` are among them."""

    async def maintain(self, events: Mapping[str, EventType]) -> None:
        """Do what no server does here by itself, if it is due. Called now and then."""

    async def record(self, entries: Sequence[Entry]) -> None:
        """Return once the ledger has these entries, at least one. An entry may be written twice."""

    async def first_row(self, table: Table) -> tuple[str, Mapping[str, object]] | None:
        """Return a table's name for readers, and a row of it; None if it has none."""

    async def close(self) -> None:
        """Close the store: other processes may have it."""
