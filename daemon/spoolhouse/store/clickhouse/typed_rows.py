"""Answers as typed rows: each column is checked against the type that the caller names."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

T = TypeVar("T")


def typed(rows: Sequence[tuple[object, ...]], kind: type[T]) -> list[T]:
    """Return `rows` as values of `kind`, a tuple or an array-like struct with a field for each column.

    Raises `msgspec.ValidationError` for an answer that has other columns than the statement asked for.
    """
    return msgspec.convert(rows, list[kind], strict=False)  # type: ignore[valid-type]  # a type at run time
