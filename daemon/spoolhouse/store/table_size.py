"""The size of a table, in either store."""

from msgspec import Struct


class TableSize(Struct, frozen=True, kw_only=True):
    """A table or view. A view has no rows of its own, and an empty table no times: these are None."""

    table: str
    engine: str | None
    """None: it does not exist."""
    rows: int | None = None
    bytes_on_disk: int | None = None
    oldest: str | None = None
    newest: str | None = None
    columns: tuple[str, ...] = ()
