"""The port of the doctor: its questions to a store, and the answers. The doctor judges them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field

from spoolhouse.errors import StoreError


class Version(Struct, frozen=True, kw_only=True):
    """The server's version, and those settings that we need and it does not have."""

    text: str
    number: tuple[int, int]
    lacking: tuple[str, ...]


class Profile(Struct, frozen=True, kw_only=True):
    """The settings of the user's profile, and those that it forbids to change."""

    readonly: int
    fixed: tuple[str, ...]
    """Settings that go along with each insert, and that the user may not change."""
    async_insert: bool
    max_memory: int
    """Bytes; 0: not limited."""


class ClusterState(Struct, frozen=True, kw_only=True):
    """A cluster as the server knows it; no shards: it does not know it."""

    name: str
    shards: int
    replicas: int
    failing: tuple[str, ...] = ()
    """Hosts that could not be reached lately."""
    has_macros: bool = True
    keeper_error: StoreError | None = None


class MissingRight(Struct, frozen=True, kw_only=True):
    """Rights that the user lacks on one object."""

    rights: tuple[str, ...]
    where: str
    lacking: str
    """Says what does not work without them."""
    statement: str
    """It grants them."""
    vital: bool


class ServerClock(Struct, frozen=True, kw_only=True):
    """The server's time and time zone."""

    now_ms: int
    zone: str


class Disk(Struct, frozen=True, kw_only=True):
    """A disk of the server, in bytes."""

    name: str
    free: int
    total: int


class Difference(Struct, frozen=True, kw_only=True):
    """A difference of the schema that a migration does not change."""

    text: str
    statement: str


class Drift(Struct, frozen=True, kw_only=True):
    """How the live schema differs from the declared one."""

    refused: tuple[Difference, ...]
    statements: tuple[str, ...]
    """The statements that a migration would run."""
    missing: tuple[str, ...]
    """Tables that hold rows and do not exist."""
    missing_all: bool
    """No table that holds rows exists."""


class Unguarded(Struct, frozen=True, kw_only=True):
    """A table into which a repeated batch would be counted twice, in `targets`; `hint` names the statement."""

    table: str
    targets: tuple[str, ...]
    hint: str


class Unsynced(Struct, frozen=True, kw_only=True):
    """Tables that acknowledge rows before they are on the disk, and the settings that they lack."""

    tables: tuple[str, ...]
    settings: tuple[str, ...]


class PartCount(Struct, frozen=True, kw_only=True):
    """The parts of a table's fullest partition, and the numbers at which inserts are delayed and refused; 0: never."""

    table: str
    parts: int
    delay_at: int
    refuse_at: int


class Hosts(Struct, frozen=True, kw_only=True):
    """Several hosts: those that answer, those that do not, and why they are not replicas of each other."""

    present: tuple[str, ...]
    away: Mapping[str, StoreError] = field(default_factory=dict)
    disagreement: StoreError | None = None


class TrialTable(Protocol):
    """A table of one trial, with the deduplication of ours."""

    @property
    def drop_statement(self) -> str:
        """SQL for a person, if `drop` fails."""

    async def insert(self, message: str, now_ms: int) -> None:
        """Insert a batch of one row; each call repeats the same batch. Raises `StoreError`."""

    async def read(self) -> tuple[int, str]:
        """Return the number of rows of the batch, and the message of one. Raises `StoreError`."""

    async def drop(self) -> None:
        """Drop the table. Raises `StoreError`."""


class InspectedStore(Protocol):
    """A store that answers the doctor's questions. All methods raise `StoreError`, and change nothing."""

    @property
    def user(self) -> str:
        """The user's name."""

    @property
    def migrates(self) -> bool:
        """Whether a start brings the schema up to date."""

    async def ping(self) -> None:
        """Return once the server answers and accepts the login."""

    async def ping_database(self) -> bool:
        """Return true once the database answers; false if it does not exist."""

    async def version(self) -> Version:
        """Return the server's version."""

    async def profile(self) -> Profile:
        """Return what the user's profile sets."""

    async def cluster(self) -> ClusterState | None:
        """Return the state of the cluster; None where the settings name none."""

    def missing_rights(self) -> AsyncIterator[MissingRight]:
        """Yield the rights that the user lacks; none from a server that cannot tell."""

    async def unreadable(self) -> Mapping[str, StoreError]:
        """Return the system tables that are needed and cannot be read."""

    async def clock(self) -> ServerClock:
        """Return the server's clock."""

    async def disks(self) -> Sequence[Disk]:
        """Return the server's local disks."""

    async def drift(self) -> Drift:
        """Return how the live schema differs from the declared one."""

    async def unguarded(self) -> Sequence[Unguarded]:
        """Return the tables into which a repeated batch would be counted twice."""

    async def unsynced(self) -> Unsynced:
        """Return the tables that acknowledge rows before they are on the disk."""

    async def parts(self) -> Sequence[PartCount]:
        """Return the parts of each table that exists."""

    async def hosts(self) -> Hosts | None:
        """Return the hosts' state; None where the settings name one host."""

    async def trial_table(self) -> TrialTable:
        """Create a table for a trial; the caller drops it."""


class InspectedFile(Protocol):
    """A database file that answers the doctor's questions. It is changed by none."""

    @property
    def path(self) -> Path:
        """The file, which may be missing."""

    @property
    def migrates(self) -> bool:
        """Whether a start brings the schema up to date."""

    async def drift(self) -> Drift:
        """Return how the schema differs from the declared one. Raises `StoreError`."""
