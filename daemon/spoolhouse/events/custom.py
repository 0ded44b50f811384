"""Event types that a file declares: from its content to the same declaration that a built-in type has.

Everything in the file is checked here, so that a mistake is reported at the start and not by ClickHouse, and no name
in it can be SQL.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from spoolhouse.events import json_paths
from spoolhouse.events.column_types import column_of_type
from spoolhouse.events.declaration import (
    ARRAYS,
    Column,
    EventType,
    Fill,
    Grain,
    Key,
    Kind,
    Measure,
    Rollup,
    Table,
    both_cases,
)
from spoolhouse.events.errors import DeclarationError

LONGEST_TTL = 2190
"""Days. A TTL is computed in 32 bits, which end in 2106, and the latest time that is taken is the end of 2099."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_DOT = re.compile(r"(?<!\\)\.")
_TOP = ("type", "table", "columns", "project", "time", "key", "partition", "ttl_days", "rollup")
_COLUMN = ("name", "type", "path", "required", "default", "bloom")
_ROLLUP = ("name", "keys", "grain", "measure", "ttl_days", "version")
_HIGHEST_VERSION = 9999
_OURS = frozenset({"ingested_at", "batch_id"})
_OF_ROLLUPS = frozenset({"hour", "day", "lines", "count", "measured_count", "last_ingested_at", *_OURS})
_OF_FIGURES = frozenset({"lines", "last_ingested_at"})
"""What every target has beside its keys: no other column that is counted may be called so."""
_NUMBERS = frozenset({Kind.INTEGER, Kind.INTEGER32, Kind.NUMBER})
_BLOOM = 0.01
RECORDED_AT = Column(name="recorded_at", kind=Kind.TIME, keys=("recordedAt", "recorded_at"), fill=Fill.CLOCK)
EXTRA = Column(name="extra", kind=Kind.JSON, fill=Fill.EXTRA, default="{}")


def event_type(document: Mapping[str, object]) -> EventType:
    """Return the event type that a file declares; raises `DeclarationError`."""
    _known(document, _TOP, "")
    name = _name(document, "type")
    if name in {"rejected", "processed", "failed"}:
        raise DeclarationError("type", f"{name!r} is a folder of Spoolhouse's own")
    columns = _columns(document)
    by_name = {column.name: column for column in columns}
    project = _text(document, "project", "project_id")
    owner = _one_of(by_name, project, "project")
    if owner.kind is not Kind.TEXT or not owner.required:
        raise DeclarationError("project", f"{project}: has to be a String that is required")
    time = _text(document, "time", None)
    when = _one_of(by_name, time, "time")
    if when.kind is not Kind.TIME or when.nullable or not (when.required or when.fill):
        raise DeclarationError("time", f'{time}: has to be a DateTime64(3) that is required, or has default = "now"')
    if document.get("partition", "month") != "month":
        raise DeclarationError("partition", '"month" is the only one: rows and rollups are repaired by the month')
    table = Table(
        name=_name(document, "table"),
        columns=columns,
        order_by=_key(document, by_name, project),
        time=time,
        ttl_days=_days(document, "ttl_days", None),
    )
    rollup = document.get("rollup")
    event = EventType(
        name=name,
        table=table if rollup is None else replace(table, rollups=(_rollup(rollup, by_name, table, project),)),
        project=project,
    )
    try:
        json_paths.tree(event, enveloped=True, wide=True)
    except ValueError as error:
        raise DeclarationError("columns", str(error)) from None
    return event


def _columns(document: Mapping[str, object]) -> tuple[Column, ...]:
    given = document.get("columns")
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise DeclarationError("columns", "a list of tables is needed: [[columns]], once for each")
    columns: dict[str, Column] = {}
    for number, one in enumerate(given, 1):
        where = f"columns[{number}]"
        _known(one, _COLUMN, f"{where}.")
        name = _name(one, "name", f"{where}.")
        if name in columns or name in _OURS:
            raise DeclarationError(f"{where}.name", f"{name} is there already")
        columns[name] = _column(name, one, f"columns.{name}.")
    recorded = columns.setdefault("recorded_at", RECORDED_AT)
    if recorded.kind is not Kind.TIME or recorded.nullable:
        raise DeclarationError("columns.recorded_at.type", "a DateTime64(3): the latest row of a key stays")
    columns.setdefault("extra", EXTRA)
    return both_cases(tuple(columns.values()))


def _column(name: str, given: Mapping[str, object], where: str) -> Column:
    declared = column_of_type(name, _text(given, "type", None, where), f"{where}type")
    required, bloom = given.get("required", False), given.get("bloom", False)
    if not isinstance(required, bool) or not isinstance(bloom, bool):
        raise DeclarationError(f"{where}{'bloom' if isinstance(required, bool) else 'required'}", "true or false")
    if bloom and declared.kind is not Kind.TEXT:
        raise DeclarationError(f"{where}bloom", "only of a String")
    column = replace(
        declared,
        keys=_paths(given.get("path", name), f"{where}path"),
        required=required,
        bloom=_BLOOM if bloom else None,
    )
    return column if required and "default" not in given else _with_default(column, given, where)


def _with_default(column: Column, given: Mapping[str, object], where: str) -> Column:
    """Return the column with what it has where an event does not say."""
    default: Any = given.get("default")
    if column.required:
        raise DeclarationError(f"{where}default", "a required column has no use for one")
    if column.kind is Kind.TIME and default == "now":
        return replace(column, fill=Fill.CLOCK)
    if default is None:
        zero: dict[Kind, Any] = {
            Kind.TEXT: "", Kind.JSON: "", Kind.INTEGER: 0, Kind.INTEGER32: 0, Kind.NUMBER: 0.0, Kind.BOOLEAN: False,
        }  # fmt: skip
        if not column.nullable and column.kind not in ARRAYS and column.kind not in zero:
            raise DeclarationError(f"{where}default", "needed, or required = true, or a Nullable type")
        return column if column.nullable else replace(column, default=zero.get(column.kind))
    if not _fits(default, column):
        raise DeclarationError(f"{where}default", f"{default!r} is no value of the column's type")
    return replace(column, default=float(default) if column.kind is Kind.NUMBER else default)


def _fits(value: Any, column: Column) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    bits = 31 if column.kind is Kind.INTEGER32 else 63
    match column.kind:
        case Kind.TEXT | Kind.JSON:
            return isinstance(value, str)
        case Kind.CHOICE:
            return value in column.choices
        case Kind.BOOLEAN:
            return isinstance(value, bool)
        case Kind.INTEGER | Kind.INTEGER32:
            return whole and -(2**bits) <= value < 2**bits
        case Kind.NUMBER:
            return (whole or isinstance(value, float)) and abs(value) < float("inf")
    return False


def _paths(given: object, where: str) -> tuple[Key, ...]:
    """Return the keys of a path such as `commit.sha`, or of several of which the first that has a value counts."""
    paths = given if isinstance(given, list) else [given]
    found: list[Key] = []
    for path in paths:
        steps = [step.replace("\\.", ".") for step in _DOT.split(path)] if isinstance(path, str) else []
        if not steps or not all(steps):
            raise DeclarationError(where, 'JSON keys with dots between them are needed, such as "commit.sha"')
        if steps[0] in {"type", "event_type", "data"}:
            raise DeclarationError(where, f"{steps[0]!r} is the envelope's own: a path begins inside of it")
        found.append(steps[0] if len(steps) == 1 else tuple(steps))
    if not found:
        raise DeclarationError(where, "no path")
    return tuple(found)


def _key(document: Mapping[str, object], columns: Mapping[str, Column], project: str) -> tuple[str, ...]:
    names = _texts(document.get("key"), "key")
    for name in names:
        column = _one_of(columns, name, "key")
        if column.nullable or column.kind in ARRAYS | {Kind.JSON, Kind.NUMBER}:
            raise DeclarationError("key", f"{name}: a key cannot be Nullable, an Array, JSON or Float64")
    if project not in names:
        raise DeclarationError("key", f"{project} is missing: rows of one key replace one another, of any project")
    return names


def _rollup(given: object, columns: Mapping[str, Column], table: Table, project: str) -> Rollup:
    if not isinstance(given, dict):
        raise DeclarationError("rollup", "a table is needed: [rollup]")
    _known(given, _ROLLUP, "rollup.")
    name = _name(given, "name", "rollup.")
    names = _texts(given.get("keys"), "rollup.keys")
    for key in names:
        column = _one_of(columns, key, "rollup.keys")
        if key in _OF_ROLLUPS or column.kind in ARRAYS | {Kind.JSON, Kind.NUMBER, Kind.TIME}:
            raise DeclarationError("rollup.keys", f"{key}: a key has few values, and a name that a rollup does not use")
    if project not in names:
        raise DeclarationError("rollup.keys", f"{project} is missing: figures are those of one project")
    grain = _text(given, "grain", "hour", "rollup.")
    if grain not in set(Grain):
        raise DeclarationError("rollup.grain", f"{grain!r} is none of {', '.join(Grain)}")
    measure = _text(given, "measure", "", "rollup.")
    if measure and _one_of(columns, measure, "rollup.measure").kind not in _NUMBERS:
        raise DeclarationError("rollup.measure", f"{measure}: not an Int32, Int64 or Float64")
    aggregates = {f"{measure}_{what}" for what in ("count", "sum", "min", "max", "quantiles")}
    shown = {f"{what}_{measure}" for what in ("total", "avg", "min", "max", "p50", "p95", "p99")}
    if clash := (aggregates | shown) & set(names):
        raise DeclarationError("rollup.keys", f"{min(clash)} is what the rollup calls a figure of {measure}")
    for used, where in ((measure, "rollup.measure"), (table.time, "time")):
        if used in {*aggregates, *_OF_FIGURES, grain}:
            raise DeclarationError(where, f"{used} is what the rollup calls something else: rename the column")
    return Rollup(
        name=name,
        time=table.time,
        grain=Grain(grain),
        keys=names,
        measure=_measure(measure) if measure else None,
        ttl_days=_days(given, "ttl_days", 730, "rollup."),
        version=_version(given),
    )


def _version(given: Mapping[str, object]) -> int:
    version = given.get("version", 1)
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= _HIGHEST_VERSION:
        raise DeclarationError("rollup.version", f"a whole number is needed, from 1 to {_HIGHEST_VERSION}")
    return version


def _measure(column: str) -> Measure:
    return Measure(
        column=column,
        total=f"total_{column}",
        average=f"avg_{column}",
        minimum=f"min_{column}",
        maximum=f"max_{column}",
        quantiles=True,
    )


def _known(given: Mapping[str, object], known: Sequence[str], where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise DeclarationError(f"{where}{key}", "no such key" + (f"; did you mean {near[0]}?" if near else ""))


def _name(given: Mapping[str, object], key: str, where: str = "") -> str:
    name = _text(given, key, None, where)
    if not _NAME.fullmatch(name):
        raise DeclarationError(where + key, f"{name!r} is no name such as build_step: a-z, 0-9 and _, at most 63")
    return name


def _text(given: Mapping[str, object], key: str, default: str | None, where: str = "") -> str:
    value = given.get(key, default)
    if not isinstance(value, str):
        raise DeclarationError(where + key, "text is needed" if key in given else "missing")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise DeclarationError(where, "a list of column names is needed")
    if len(set(value)) < len(value):
        raise DeclarationError(where, "a name is there twice")
    return tuple(value)


def _days(given: Mapping[str, object], key: str, default: int | None, where: str = "") -> int:
    days = given.get(key, default)
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= LONGEST_TTL:
        raise DeclarationError(where + key, f"a whole number of days is needed, from 1 to {LONGEST_TTL}")
    return days


def _one_of(columns: Mapping[str, Column], name: str, where: str) -> Column:
    if name not in columns:
        near: Iterable[str] = difflib.get_close_matches(name, columns, n=1)
        raise DeclarationError(where, f"no column {name}" + "".join(f"; did you mean {one}?" for one in near))
    return columns[name]
