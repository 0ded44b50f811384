"""The steps from a live database to the declared schema. Pure."""

from collections.abc import Iterator

from msgspec import Struct

from spoolhouse.store.clickhouse.schema.backfill_sql import BackfillStatements
from spoolhouse.store.migration import Change, Refusal


class BackfillStep(Struct, frozen=True, kw_only=True):
    """Count the rows that are older than a rollup, or that came while its materialized view was missing."""

    backfill: BackfillStatements
    then: tuple[Change, ...]
    """The changes that follow, once all rows are counted: the rollup is shown from then on."""

    @property
    def name(self) -> str:
        """The name of the target."""
        return self.backfill.target

    @property
    def what(self) -> str:
        """A summary for a person."""
        return f"~ rows of {self.backfill.source} that it has not counted yet"

    @property
    def statement(self) -> str:
        """The backfill as one statement, if nothing is inserted meanwhile; it is executed in portions."""
        return self.backfill.whole


Step = Change | BackfillStep | Refusal


class Plan(Struct, frozen=True, kw_only=True):
    """The way from the live database to the declared one."""

    steps: tuple[Change | BackfillStep, ...] = ()
    """In order; each can be repeated, and done by several instances at once."""
    refusals: tuple[Refusal, ...] = ()

    @property
    def changes(self) -> tuple[Change | BackfillStep, ...]:
        """The steps, with the changes that follow a backfill."""
        return tuple(self._flat())

    @property
    def statements(self) -> tuple[str, ...]:
        """The statements of all steps."""
        return tuple(change.statement for change in self._flat())

    @property
    def unfilled(self) -> tuple[str, ...]:
        """The rollup targets that do not count all rows yet."""
        return tuple(step.name for step in self.steps if isinstance(step, BackfillStep))

    @property
    def missing(self) -> frozenset[str]:
        """The names of the missing tables."""
        return frozenset(step.name for step in self.steps if isinstance(step, Change) and step.what == "+ table")

    @property
    def empty(self) -> bool:
        """True where live and declared agree."""
        return not self.steps and not self.refusals

    def _flat(self) -> Iterator[Change | BackfillStep]:
        for step in self.steps:
            yield step
            if isinstance(step, BackfillStep):
                yield from step.then
