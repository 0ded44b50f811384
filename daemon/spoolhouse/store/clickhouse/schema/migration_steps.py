"""What lies between a live database and the declared schema, step by step. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from spoolhouse.store.clickhouse.schema.backfill_sql import Filling


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One statement that adds something and loses nothing."""

    name: str
    """The database, table or view that it is done to."""
    what: str
    """What it does, for a person: `+ column x String`, `~ TTL 30 days, was 7`, `- feed of an earlier version`."""
    statement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """Counting the rows that were there before a rollup, or that came while it had no feed."""

    filling: Filling
    then: tuple[Change, ...]
    """What may be done once all is counted: the rollup is shown from then on."""

    @property
    def name(self) -> str:
        """The target."""
        return self.filling.target

    @property
    def what(self) -> str:
        """What it does, for a person."""
        return f"~ rows of {self.filling.source} that it has not counted yet"

    @property
    def statement(self) -> str:
        """What it comes to, if nothing is inserted meanwhile; in truth it is done in portions."""
        return self.filling.whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A difference that only a person may settle, because settling it loses, rewrites or recounts data."""

    name: str
    """The table or view."""
    reason: str
    """What differs, in one line."""
    statement: str
    """What would settle it, or make way for it. It is never run."""
    hint: str = ""
    """What a person can do in place of that statement, where there is a better way."""
    blocking: bool = False
    """The object is not what its name says: nothing is added to it, and nothing that hangs on it is created."""

    def __str__(self) -> str:
        """Return what differs, and where."""
        return f"{self.name}: {self.reason}"


Step = Change | Fill | Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to get from the live database to the declared one."""

    steps: tuple[Change | Fill, ...] = ()
    """In order; each can be repeated, and done by several instances at once."""
    refusals: tuple[Refusal, ...] = ()

    @property
    def changes(self) -> tuple[Change | Fill, ...]:
        """The steps, with those that follow the filling of a rollup."""
        return tuple(self._flat())

    @property
    def statements(self) -> tuple[str, ...]:
        """What would run."""
        return tuple(change.statement for change in self._flat())

    @property
    def unfilled(self) -> tuple[str, ...]:
        """The rollup targets that do not count all rows yet."""
        return tuple(step.name for step in self.steps if isinstance(step, Fill))

    @property
    def missing(self) -> frozenset[str]:
        """The names of the tables that are not there."""
        return frozenset(step.name for step in self.steps if isinstance(step, Change) and step.what == "+ table")

    @property
    def empty(self) -> bool:
        """True where live and declared agree."""
        return not self.steps and not self.refusals

    def _flat(self) -> Iterator[Change | Fill]:
        for step in self.steps:
            yield step
            if isinstance(step, Fill):
                yield from step.then
