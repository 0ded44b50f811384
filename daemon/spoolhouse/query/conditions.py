"""Filters and predicates of a request as conditions. Pure; what is not accepted is refused in words."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any as Anything

from spoolhouse.errors import BadRequestError
from spoolhouse.events.declaration import ARRAYS, Column, Kind
from spoolhouse.query.questions import All, Any, Compare, Condition, Field, Not, Op, Related, Scalar
from spoolhouse.query.requests import LONGEST_TEXT, MOST_CHOICES, AllProjects, Question
from spoolhouse.query.signals import LISTS, SIGNALS, Signal
from spoolhouse.query.times import moment

_DEEPEST = 12
_MOST_NODES = 100
_EARLIER_MS = 3_600_000
"""So much earlier than a trace may what is related to it be: clocks differ."""
_WORD = re.compile(r"[0-9A-Za-z\x80-\U0010ffff]+")
_NUMBERS = frozenset({Kind.NUMBER, Kind.INTEGER, Kind.INTEGER32})
_TEXTS = frozenset({Kind.TEXT, Kind.SCALAR, Kind.ANY, Kind.JSON, Kind.CHOICE})
_OF_TEXTS = frozenset({Op.CONTAINS, Op.PREFIX, Op.WORDS})
_LABEL = "label."
_MOST_BYTES = 65_536
"""Of all texts of a request together."""


def of_question(question: Question, signal: Signal, filters: Mapping[str, Anything], since_ms: int) -> Condition:
    """Return all that a request asks of a row, its project first."""
    parts: list[Condition] = [*_project(question.project)]
    for name, value in filters.items():
        if value is None:
            continue
        found = signal.filters.get(name)
        if found is None:
            raise BadRequestError(
                f"{signal.name} have no filter {name!r}; accepted: {', '.join(signal.filters)}, label"
            )
        column, op = found
        parts.append(_compare(signal, Field(column), op, value, name))
    for key, value in (question.label or {}).items():
        parts.append(Compare(Field(signal.labels, _text(key, "a label")), Op.EQ, _text(value, f"label {key}")))
    if question.where is not None:
        tree = _Tree(question.project, since_ms)
        parts.append(tree.condition(question.where, signal, 1))
    made = All(tuple(parts))
    if sum(len(text.encode()) for text in _texts_in(made)) > _MOST_BYTES:
        raise BadRequestError(f"all texts together may have {_MOST_BYTES} bytes")
    return made


def _texts_in(condition: Condition) -> Iterator[str]:
    match condition:
        case Compare(field, _, value):
            yield from (
                one for one in (field.key, *(value if isinstance(value, tuple) else (value,))) if isinstance(one, str)
            )
        case All(of) | Any(of):
            for one in of:
                yield from _texts_in(one)
        case Not(inner):
            yield from _texts_in(inner)
        case Related():
            yield from _texts_in(condition.where)


def of_ids(project: str | AllProjects, **columns: str | tuple[str, ...]) -> Condition:
    """Return the condition that rows of a project have these ids."""
    parts = [
        Compare(Field(name), Op.IN if isinstance(value, tuple) else Op.EQ, value) for name, value in columns.items()
    ]
    for value in columns.values():
        for text in (value,) if isinstance(value, str) else value:
            _text(text, "an id")
    return All((*_project(project), *parts))


def of_rows(project: str | AllProjects, condition: Condition) -> Condition:
    """Return a condition within a project."""
    return All((*_project(project), condition))


def field_of(signal: Signal, name: str) -> Field:
    """Return the field that a person names: a column, a filter's name, or `label.KEY`."""
    name = _text(name, "a field")
    if name.startswith(_LABEL):
        return Field(signal.labels, name.removeprefix(_LABEL))
    columns = [column.name for column in signal.table.columns]
    if name in columns:
        return Field(name)
    if name in signal.filters and name not in {"min", "max", "words", "contains"}:
        return Field(signal.filters[name][0])
    raise BadRequestError(f"{signal.name} have no field {name!r}; accepted: {', '.join(columns)}, {_LABEL}KEY")


def _project(project: Anything) -> Iterable[Condition]:
    if isinstance(project, AllProjects):
        return ()
    if not isinstance(project, str) or not project:
        raise BadRequestError("a project is required: its name, not empty")
    return (Compare(Field("project_id"), Op.EQ, _text(project, "the project")),)


def _compare(signal: Signal, field: Field, op: Op, value: Anything, name: str) -> Condition:
    column = signal.table.column(field.column)
    _check_kind(column, field, op, name)
    if op is Op.WORDS:
        words = tuple(dict.fromkeys(_WORD.findall(_text(value, name).lower())))
        if not words:
            raise BadRequestError(f"{name}: no word in {_shown(value)}; words are runs of letters and digits")
        return Compare(field, op, words[:MOST_CHOICES])
    if op is Op.EXISTS:
        if not isinstance(value, bool):
            raise BadRequestError(f"{name}: true or false is accepted")
        exists = Compare(field, op)
        return exists if value else Not(exists)
    is_list = isinstance(value, list | tuple | set | frozenset)
    if is_list or op in {Op.IN, Op.NOT_IN}:
        if not is_list or len(value) > MOST_CHOICES or op not in {Op.EQ, Op.IN, Op.NOT_IN}:
            what = f"a list of at most {MOST_CHOICES} values" if op in {Op.EQ, Op.IN, Op.NOT_IN} else "one value"
            raise BadRequestError(f"{name}: {what} is accepted")
        values = tuple(_value(column, field, one, name) for one in value)
        return Compare(field, Op.NOT_IN if op is Op.NOT_IN else Op.IN, values)
    return Compare(field, op, _text(value, name) if op in _OF_TEXTS else _value(column, field, value, name))


def _check_kind(column: Column, field: Field, op: Op, name: str) -> None:
    """Raise `BadRequestError` if a field of that kind is never compared so."""
    if field.key is not None:
        return
    if column.kind in ARRAYS:
        if op is not Op.EXISTS and (op is not Op.CONTAINS or column.kind is not Kind.TEXTS):
            raise BadRequestError(f"{name}: {column.name} is an array; exists is accepted, and includes for texts")
    elif op in _OF_TEXTS and column.kind not in _TEXTS:
        raise BadRequestError(f"{name}: {column.name} is no text")


def _value(column: Column, field: Field, value: Anything, name: str) -> Scalar:
    """Return a value as the column has it."""
    if field.key is not None:
        return _text(value if isinstance(value, str) else _as_text(value, name), name)
    if column.kind is Kind.TIME:
        return moment(value, name)
    if column.kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadRequestError(f"{name}: a number is accepted, not {_shown(value)}")
        return value if -(2**63) <= value < 2**63 and isinstance(value, int) else float(value)
    if column.kind is Kind.CHOICE:
        if value not in column.choices:
            raise BadRequestError(f"{name}: {_shown(value)} is not one of {', '.join(column.choices)}")
        return str(value)
    return _text(value, name)


def _as_text(value: Anything, name: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    raise BadRequestError(f"{name}: a text is accepted, not {_shown(value)}")


def _text(value: Anything, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequestError(f"{name}: a text is accepted, not {_shown(value)}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadRequestError(f"{name}: not valid Unicode") from None
    if size > LONGEST_TEXT:
        raise BadRequestError(f"{name}: at most {LONGEST_TEXT} bytes are accepted, not {size}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004  # enough to recognize it


class _Tree:
    """A predicate tree being read."""

    def __init__(self, project: str | AllProjects, since_ms: int) -> None:
        self._project = project
        self._since_ms = since_ms
        self._nodes = 0

    def condition(self, node: Anything, signal: Signal, depth: int) -> Condition:  # noqa: PLR0911  # one for each form
        """Return the condition of a node."""
        self._nodes += 1
        if depth > _DEEPEST or self._nodes > _MOST_NODES:
            raise BadRequestError(f"where: at most {_DEEPEST} levels and {_MOST_NODES} conditions are accepted")
        match node:
            case {"and": [*nodes], **rest} if not rest:
                return All(tuple(self.condition(one, signal, depth + 1) for one in nodes))
            case {"or": [*nodes], **rest} if not rest:
                return Any(tuple(self.condition(one, signal, depth + 1) for one in nodes))
            case {"not": inner, **rest} if not rest:
                return Not(self.condition(inner, signal, depth + 1))
            case {"field": name, "op": op, "value": value, **rest} if not rest:
                return _compare(signal, field_of(signal, name), _op(op), value, str(name))
            case {"field": name, "op": "exists", **rest} if not rest:
                return Compare(field_of(signal, name), Op.EXISTS)
            case {"some": name, **rest} if rest.keys() <= {"where"}:
                return self._related(name, rest.get("where"), signal, depth)
            case {"none": name, **rest} if rest.keys() <= {"where"}:
                return Not(self._related(name, rest.get("where"), signal, depth))
        raise BadRequestError(
            "where: accepted are {and: [...]}, {or: [...]}, {not: ...}, {field, op, value}, {some: RELATION, where}, "
            f"{{none: RELATION, where}}; not {_shown(node)}"
        )

    def _related(self, name: Anything, where: Anything, signal: Signal, depth: int) -> Condition:
        other = LISTS.get(name) if isinstance(name, str) else None
        names = [one.name for one in LISTS.values() if _has_trace(one) and one is not signal]
        if other is None or name not in names or not _has_trace(signal):
            raise BadRequestError(
                f"where: {_shown(name)} is no relation of {signal.name}; accepted: {', '.join(names)}"
            )
        parts: list[Condition] = [*_project(self._project)]
        if where is not None:
            parts.append(self.condition(where, other, depth + 1))
        return Related(other.table, "trace_id", self._since_ms - _EARLIER_MS, All(tuple(parts)))


def _has_trace(signal: Signal) -> bool:
    return any(column.name == "trace_id" for column in signal.table.columns)


def _op(op: Anything) -> Op:
    accepted = [one.value for one in Op if one is not Op.PREFIX]
    if op not in accepted:
        raise BadRequestError(f"where: no operator {_shown(op)}; accepted: {', '.join(accepted)}")
    return Op(op)


def signal_of(name: Anything) -> Signal:
    """Return the signal of that name, in the singular or plural."""
    found = SIGNALS.get(name) if isinstance(name, str) else None
    if found is None:
        singular = dict.fromkeys(one.one for one in SIGNALS.values())
        raise BadRequestError(f"no signal {_shown(name)}; accepted: {', '.join(singular)}")
    return found
