"""Canonical rows: decode makes them of lines, a store inserts them."""

from msgspec import Struct


class Rows(Struct, frozen=True, kw_only=True):
    """Canonical rows of one table.

    `data` is UTF-8: `count` JSON arrays, one a line, each line ended by a newline, none empty. The arrays hold the
    values of a table's columns in their declared order: text, numbers, null, times as RFC 3339 strings, JSON-valued
    columns as JSON strings.
    """

    data: bytes
    count: int


Row = tuple[object, ...]
"""A row before it is encoded: the values of a table's columns in their declared order."""
