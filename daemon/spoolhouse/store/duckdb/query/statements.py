"""A statement of a user's own: one SELECT of the tables of the file, which reaches nothing else.

DuckDB's table functions read files, follow pointers and run SQL in texts, and a name that is no table's may be that of
a file. So what follows FROM is taken from closed sets.
"""

import difflib
import re
from collections.abc import Iterator
from typing import Any

import duckdb
import msgspec

from spoolhouse.errors import BadRequestError

_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"})
_NAME = re.compile(r"\w+")


def check(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Return the statement without a semicolon at its end. Raises `BadRequestError` if it may not be run."""
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        first, _, _ = str(error).partition("\n")
        raise BadRequestError(f"sql: {first}") from None
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise BadRequestError("sql: one SELECT is accepted")
    query = statements[0].query.strip().rstrip(";")
    [[tree]] = connection.execute("SELECT json_serialize_sql($1::VARCHAR)", [query]).fetchall()
    parsed = msgspec.json.decode(tree)
    if parsed["error"]:
        raise BadRequestError("sql: one SELECT is accepted, which only reads, without PIVOT")
    nodes = list(_nodes(parsed))
    known = {*_tables(connection), *(("", name) for node in nodes for name in _named_within(node))}
    for node in nodes:
        _check_node(node, known)
    return query


def _check_node(node: dict[str, Any], known: set[tuple[str, str]]) -> None:
    match node:
        case {"type": "TABLE_FUNCTION", "function": {"function_name": str() as name}}:
            if name.lower() not in _FUNCTIONS:
                accepted = ", ".join(sorted(_FUNCTIONS))
                raise BadRequestError(f"sql: {name} cannot be asked; tables, views and {accepted} can")
        case {"type": "BASE_TABLE", "schema_name": str() as schema, "table_name": str() as name}:
            if (schema.lower(), name.lower()) not in known:
                raise BadRequestError(f"sql: there is no table {name[:60]!r}; {_instead(name.lower(), known)}")


def _instead(name: str, known: set[tuple[str, str]]) -> str:
    """Return which table a name may mean: one that ends with it, after a prefix; else the nearest."""
    names = sorted({one for _, one in known})
    ends = [one for one in names if one.endswith(f"_{name}")]
    near = min(ends, key=len, default="") or next(iter(difflib.get_close_matches(name[:60], names, n=1)), "")
    return f"did you mean {near}?" if near else "see `SELECT table_name FROM duckdb_tables`"


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects of a parsed statement."""
    left = [tree]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one
            left += one.values()
        elif isinstance(one, list):
            left += one


def _named_within(node: dict[str, Any]) -> Iterator[str]:
    """Yield the names that a WITH gives; one that could be a file's is none."""
    match node:
        case {"cte_map": {"map": [*named]}}:
            yield from (one["key"].lower() for one in named if _NAME.fullmatch(one["key"]))


def _tables(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Yield all tables and views: schema (none, as well, where it can be left out) and name."""
    found = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables()"
        " UNION ALL SELECT schema_name, view_name FROM duckdb_views()"
    )
    for schema, name in found.fetchall():
        yield schema.lower(), name.lower()
        if schema != "information_schema":
            yield "", name.lower()
