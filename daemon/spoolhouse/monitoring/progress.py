"""The Protocol by which the pipeline reports its progress to a display.

No method may raise or block, and none changes the work.
"""

from collections.abc import Mapping
from typing import Protocol

from spoolhouse.monitoring.status_model import RecentFile


class Progress(Protocol):
    """Called on the event loop's thread."""

    def pending(self, files: int, size: int, /) -> None:
        """Note how many files, and bytes, wait in the spool just now, as a scan found them; claimed ones left out."""

    def landed(self, table: str, rows: int, /) -> None:
        """Note that ClickHouse acknowledged `rows` more rows of `table` (its full name)."""

    def settled(self, file: RecentFile, /) -> None:
        """Note that a file is done."""

    def sample(self, table: str, row: Mapping[str, object], /) -> None:
        """Note one row as it can be read back from `table`."""

    def note(self, text: str, /) -> None:
        """Note one sentence that a person should read now."""

    def summary(self) -> None:
        """Show the totals; called once, at the end."""


class Silent:
    """No display: the logs are enough."""

    def pending(self, files: int, size: int, /) -> None:
        """Show nothing."""

    def landed(self, table: str, rows: int, /) -> None:
        """Show nothing."""

    def settled(self, file: RecentFile, /) -> None:
        """Show nothing."""

    def sample(self, table: str, row: Mapping[str, object], /) -> None:
        """Show nothing."""

    def note(self, text: str, /) -> None:
        """Show nothing."""

    def summary(self) -> None:
        """Show nothing."""
