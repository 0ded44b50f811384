"""What a migration tells of its progress, as a Protocol: no method may raise or block, and nothing is decided by it."""

from typing import Protocol

from spoolhouse.errors import StoreError
from spoolhouse.store.clickhouse.schema.migration_steps import Change


class Report(Protocol):
    """Told what happens, from the event loop's thread."""

    def changed(self, change: Change, /) -> None:
        """Note a change that was made."""

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """Note how many of the rows that a rollup lacked are counted so far; `total` may grow: others insert."""

    def filled(self, target: str, rows: int, /) -> None:
        """Note that a rollup counts all rows."""

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Note that a rollup is left as it is, because it cannot be filled just now."""


class Unreported:
    """Tells nobody."""

    def changed(self, change: Change, /) -> None:
        """Tell nobody."""

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """Tell nobody."""

    def filled(self, target: str, rows: int, /) -> None:
        """Tell nobody."""

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Tell nobody."""
