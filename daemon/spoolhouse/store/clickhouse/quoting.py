"""Quoting for SQL: the only place where names and literals are written into a statement."""

from collections.abc import Iterable

_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", "\0": "\\0", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


def identifier(name: str) -> str:
    """Return `name` in backquotes. Raises ValueError for a name that is empty or contains control characters."""
    if not name or min(name) < " ":
        raise ValueError(f"not a name for SQL: {name!r}")
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def identifiers(names: Iterable[str]) -> str:
    """Return `names` quoted and separated by commas."""
    return ", ".join(identifier(name) for name in names)


def literal(value: str | float) -> str:
    """Return `value` as an SQL literal; text gets its quotes."""
    if isinstance(value, str):
        return "'" + value.translate(_ESCAPES) + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)
