"""Parse the server's own spelling of engines, TTLs, settings and enums. Pure."""

import re
from collections.abc import Mapping

from msgspec import Struct

_ENGINE_ARGUMENTS = re.compile(r"^\w+\(((?:'(?:[^'\\]|\\.)*'|[^')])*)\)")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'\s*,?\s*")
_REPLICATING = re.compile(r"^(Replicated|Shared)")
_TTL = re.compile(r" TTL (?P<text>.*?)(?: SETTINGS |$)", re.DOTALL)
_AFTER_DAYS = re.compile(r"toDateTime\((?P<column>\w+)\) \+ toIntervalDay\((?P<days>\d+)\)(?:,|$)")
_ASSIGNED = re.compile(r"`?(\w+)`? = ")
_ENUM = re.compile(r"(?P<before>(?:Nullable\()?)Enum8\((?P<values>.*?)\)(?P<after>\)?)", re.DOTALL)
_ENUM_VALUE = re.compile(r"'((?:[^'\\]|\\.)*)' = (-?\d+)")


def plain(key: str) -> str:
    """Return a key or expression without quotes around its names and without a tuple's outer brackets."""
    return key.replace("`", "").strip()


def version(text: str) -> tuple[int, int]:
    """Return the first two numbers of a server's version."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (0, 0) if found is None else (int(found[1]), int(found[2]))


def is_local(engine: str) -> bool:
    """Return whether an engine keeps its deduplication log on one server, in `non_replicated_…` settings."""
    return _REPLICATING.match(engine) is None


def engine(name: str, full: str) -> str:
    """Return an engine with its own arguments; replication, and the path in Keeper, are left out."""
    arguments = _ENGINE_ARGUMENTS.match(full)
    rest = plain(_QUOTED.sub("", arguments[1])) if arguments else ""
    bare = _REPLICATING.sub("", name)
    return f"{bare}({rest})" if rest else bare


def setting(full: str, name: str) -> int:
    """Return a whole-number setting of a table, 0 where the table has none; true is 1."""
    found = re.search(rf"\b{re.escape(name)} = (\d+|true)", full)
    return 0 if found is None else 1 if found[1] == "true" else int(found[1])


class LiveTtl(Struct, frozen=True, kw_only=True):
    """A parsed TTL; no `column` where it is missing or of another form."""

    text: str
    column: str = ""
    days: int = 0
    compacted: frozenset[str] = frozenset()


def ttl(full: str) -> LiveTtl:
    """Return the TTL in an engine's full description."""
    found = _TTL.search(full)
    text = plain(found["text"]) if found else ""
    rule = _AFTER_DAYS.match(text)
    if rule is None:
        return LiveTtl(text=text)
    return LiveTtl(
        text=text, column=rule["column"], days=int(rule["days"]), compacted=compacted_columns(text[rule.end() :])
    )


def compacted_columns(rule: str) -> frozenset[str]:
    """Return the columns that a `… GROUP BY … SET …` rule assigns."""
    return frozenset(_ASSIGNED.findall(rule))


def enum_extends(kind: str, base: str) -> bool:
    """Return whether `kind` is the enum `base`, possibly with more values, and equal otherwise."""
    bigger, smaller = _enum(kind), _enum(base)
    return bool(smaller) and smaller.items() <= bigger.items()


def _enum(kind: str) -> Mapping[str, str]:
    found = _ENUM.fullmatch(kind)
    if found is None:
        return {}
    return dict(_ENUM_VALUE.findall(found["values"])) | {"": found["before"] + found["after"]}
