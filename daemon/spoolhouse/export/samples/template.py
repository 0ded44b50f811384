"""Templates: tables of texts with `${…}` in place of values. The head of `templates.toml` lists the placeholders."""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from random import Random
from typing import Any

from msgspec import Struct

Table = dict[str, Any]
"""A table of the file: its shape is the file's own matter."""

FILE: Table = tomllib.loads((files(__package__) / "templates.toml").read_text(encoding="utf-8"))

_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC; without a zone, it is written without an offset
_DOLLARS = 2.5e-6, 1e-5
"""The price of an input token and of an output token."""


class Scope(Struct):
    """The values that one event is filled with; those of `let` are computed when they are first needed."""

    random: Random
    values: Table
    let: "Mapping[str, Fill]"

    def get(self, name: str) -> Any:  # a value of any type
        """Return the value of a name."""
        if name not in self.values:
            self.values[name] = self.let[name](self)
        return self.values[name]


Fill = Callable[[Scope], Any]


def compiled(template: Any, lists: Mapping[str, Sequence[object]] = FILE["lists"]) -> Fill:  # of any type
    """Return a function that fills a template. Of a table, fields without a value are left out."""
    if _is_constant(template):
        return lambda _: template
    if isinstance(template, dict):
        return _table(template, lists)
    if isinstance(template, list):
        items = [compiled(value, lists) for value in template]
        return lambda scope: [fill(scope) for fill in items]
    texts = _PLACEHOLDER.split(template)
    fills = [_placeholder(text, lists) for text in texts[1::2]]
    if texts[0] == texts[-1] == "" and len(fills) == 1:
        return fills[0]
    form = "{}".join(text.replace("{", "{{").replace("}", "}}") for text in texts[::2])
    return lambda scope: form.format(*[fill(scope) for fill in fills])


def merged(*templates: Table) -> Table:
    """Return one table of several; where two have the same field, the later one wins, and tables are merged."""
    result: Table = {}
    for template in templates:
        for key, value in template.items():
            past = result.get(key)
            result[key] = merged(past, value) if isinstance(past, dict) and isinstance(value, dict) else value
    return result


def time_text(ms: int) -> str:
    """Return milliseconds since 1970 as ISO 8601."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds") + "Z"


def _is_constant(template: object) -> bool:
    return "${" not in repr(template)


def _table(template: Table, lists: Mapping[str, Sequence[object]]) -> Fill:
    fills = [(key, compiled(value, lists)) for key, value in template.items() if not _is_constant(value)]

    def fill_table(scope: Scope) -> Table:
        result = template.copy()
        for key, fill in fills:
            value = fill(scope)
            if value is None:
                del result[key]
            else:
                result[key] = value
        return result

    return fill_table


def _placeholder(text: str, lists: Mapping[str, Sequence[object]]) -> Fill:
    name, *arguments = text.split(":")
    if not arguments:
        return lambda scope: scope.values[name] if name in scope.values else scope.get(name)
    return _FUNCTIONS[name](lists, *arguments)


def _int(_: object, low: str, high: str) -> Fill:
    first, end = int(low), int(high)
    return lambda scope: scope.random.randrange(first, end)


def _round(_: object, low: str, high: str, digits: str) -> Fill:
    least, most, places = float(low), float(high), int(digits)
    return lambda scope: round(scope.random.uniform(least, most), places)


def _beta(_: object, a: str, b: str, digits: str) -> Fill:
    alpha, beta, places = float(a), float(b), int(digits)
    return lambda scope: round(scope.random.betavariate(alpha, beta), places)


def _hex(_: object, digits: str) -> Fill:
    count = int(digits)
    return lambda scope: f"{scope.random.getrandbits(4 * count):0{count}x}"


def _pick(lists: Mapping[str, Sequence[object]], name: str) -> Fill:
    items = lists[name]
    return lambda scope: scope.random.choice(items)


def _time(_: object, name: str) -> Fill:
    return lambda scope: time_text(scope.get(name))


def _cost(_: object, tokens_in: str, tokens_out: str) -> Fill:
    return lambda scope: round(scope.get(tokens_in) * _DOLLARS[0] + scope.get(tokens_out) * _DOLLARS[1], 6)


def _one(lists: Mapping[str, Sequence[object]], name: str) -> Fill:
    return compiled(FILE["templates"][name]["fields"], lists)


def _some(lists: Mapping[str, Sequence[object]], name: str, most: str) -> Fill:
    fill, end = _one(lists, name), int(most) + 1
    return lambda scope: [fill(scope) for _ in range(scope.random.randrange(end))]


_FUNCTIONS: Mapping[str, Callable[..., Fill]] = {
    "int": _int, "round": _round, "beta": _beta, "hex": _hex, "pick": _pick, "time": _time, "cost": _cost, "one": _one,
    "some": _some,
}  # fmt: skip
