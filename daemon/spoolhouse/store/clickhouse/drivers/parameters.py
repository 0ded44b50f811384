"""Values for the `{name:Type}` placeholders of a statement, for servers that bind them and protocols that cannot."""

import re
from collections.abc import Mapping

from spoolhouse.store.clickhouse import codes
from spoolhouse.store.clickhouse.driver import Parameter
from spoolhouse.store.clickhouse.quoting import identifier, literal

_TOKEN = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|--[^\n]*|/\*.*?\*/"""
    r"""|\{\s*(?P<name>\w+)\s*:\s*(?P<type>[^{}]+?)\s*\}""",
    re.DOTALL,
)
"""A placeholder, or text that cannot hold one: strings, quoted names, comments."""

_TSV = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f"})


def bind(sql: str, parameters: Mapping[str, Parameter]) -> str:
    """Return `sql` with each placeholder replaced by its value, cast to the placeholder's type.

    Any value becomes one literal; `{name:Identifier}` becomes a quoted name. Raises `OperatorError` with the server's
    own code 456 for a placeholder without a value.
    """

    def value(match: re.Match[str]) -> str:
        name, kind = match["name"], match["type"]
        if name is None:
            return match[0]
        if name not in parameters:
            raise codes.error(456, f"no value for the parameter {name}")
        if kind == "Identifier":
            return identifier(str(parameters[name]))
        return f"CAST({_sql(parameters[name])} AS {kind})"

    return _TOKEN.sub(value, sql)


def posted(parameters: Mapping[str, Parameter]) -> dict[str, str]:
    """Return the values as the HTTP interface takes them: `param_{name}`, escaped as in TabSeparated."""
    return {f"param_{name}": _tsv(value) for name, value in parameters.items()}


def _sql(value: Parameter) -> str:
    match value:
        case str():
            return literal(value)
        case int():
            return str(int(value))
        case float():
            return literal(repr(value))  # as text: `nan` and `inf` are no literals
        case _:
            return f"[{', '.join(literal(element) for element in value)}]"


def _tsv(value: Parameter) -> str:
    match value:
        case str():
            return value.translate(_TSV)
        case int():
            return str(int(value))
        case float():
            return repr(value)
        case _:
            return _sql(value)
