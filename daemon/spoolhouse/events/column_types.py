"""The ClickHouse types that a declared column may have: a closed list, each with the kind of value that it holds."""

import re

from spoolhouse.events.declaration import ARRAYS, Column, Kind
from spoolhouse.events.errors import DeclarationError

_KINDS = {
    "String": Kind.TEXT,
    "JSON": Kind.JSON,
    "Bool": Kind.BOOLEAN,
    "Int32": Kind.INTEGER32,
    "Int64": Kind.INTEGER,
    "Float64": Kind.NUMBER,
    "DateTime64(3)": Kind.TIME,
    "DateTime64(3,'UTC')": Kind.TIME,
    "Array(String)": Kind.TEXTS,
    "Array(Float64)": Kind.NUMBERS,
    "Array(UInt64)": Kind.COUNTS,
}
"""JSON: any value, kept as its text, in a String."""
_LISTED = ", ".join([*_KINDS, "Enum8('a' = 1, 'b' = 2)", "Nullable(…)", "LowCardinality(String)"])
_WRAPPED = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
_ENUM_VALUE = re.compile(r"\s*'([^'\\\x00-\x1f]+)'\s*=\s*(-?\d{1,3})\s*")
_INT8 = range(-128, 128)


def column_of_type(name: str, spelt: str, where: str) -> Column:
    """Return a column of a type that is spelt as ClickHouse does, without its keys; raises `DeclarationError`."""
    inner, wrappers = spelt.strip(), []
    while (wrapped := _WRAPPED.fullmatch(inner)) and wrapped[1] in {"LowCardinality", "Nullable"}:
        wrappers.append(wrapped[1])
        inner = wrapped[2].strip()
    if wrappers not in ([], ["Nullable"], ["LowCardinality"], ["LowCardinality", "Nullable"]):
        raise DeclarationError(where, f"{spelt!r}: LowCardinality goes around Nullable, each once")
    choices = _choices(inner, where) if inner.startswith("Enum8(") else {}
    kind = Kind.CHOICE if choices else _KINDS.get(inner if "'" in inner else inner.replace(" ", ""))
    kind = kind or _KINDS.get(inner.replace(" ", ""))
    if kind is None:
        raise DeclarationError(where, f"{spelt!r} is none of {_LISTED}")
    nullable, low_cardinality = "Nullable" in wrappers, "LowCardinality" in wrappers
    if low_cardinality and kind is not Kind.TEXT:
        raise DeclarationError(where, f"{spelt!r}: LowCardinality is for String")
    if nullable and kind in ARRAYS:
        raise DeclarationError(where, f"{spelt!r}: an array cannot be Nullable; an absent one is empty")
    return Column(name=name, kind=kind, choices=choices, nullable=nullable, low_cardinality=low_cardinality)


def _choices(spelt: str, where: str) -> dict[str, int]:
    content = spelt.removeprefix("Enum8(").removesuffix(")")
    choices: dict[str, int] = {}
    for pair in content.split(","):
        found = _ENUM_VALUE.fullmatch(pair)
        if found is None or int(found[2]) not in _INT8 or found[1] in choices or int(found[2]) in choices.values():
            raise DeclarationError(where, f"{pair.strip()!r}: not a value of its own such as 'a' = 1, from -128 to 127")
        choices[found[1]] = int(found[2])
    return choices
