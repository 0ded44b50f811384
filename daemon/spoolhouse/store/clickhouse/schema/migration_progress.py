"""The progress of a migration, as a Protocol: no method may raise or block, and none returns a decision."""

from typing import Protocol

from spoolhouse.errors import StoreError
from spoolhouse.store.migration import Change


class MigrationProgress(Protocol):
    """Called in the event loop's thread."""

    def changed(self, change: Change, /) -> None:
        """A change was made."""

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """`rows` of the `total` rows that a rollup lacked are counted; `total` may grow: others insert."""

    def filled(self, target: str, rows: int, /) -> None:
        """A rollup counts all rows now."""

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """A rollup stays incomplete, because it cannot be filled now."""


class NoProgress:
    """Ignores all progress."""

    def changed(self, change: Change, /) -> None:
        """Ignored."""

    def filling(self, target: str, rows: int, total: int, /) -> None:
        """Ignored."""

    def filled(self, target: str, rows: int, /) -> None:
        """Ignored."""

    def unfilled(self, target: str, error: StoreError, /) -> None:
        """Ignored."""
