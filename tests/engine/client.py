"""A tiny synchronous ClickHouse client over HTTP: the tests' oracle, which shares no code with what it judges."""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

Scalar = str | int | float | bool

# A test server is never behind the proxy that the environment may name.
_opener = build_opener(ProxyHandler({}))

ALWAYS: Mapping[str, Scalar] = {
    "default_format": "JSONCompactEachRow",
    "wait_end_of_query": 1,  # an error after the first rows must be an error, not half an answer
    "output_format_json_quote_64bit_integers": 0,
    "output_format_json_quote_denormals": 1,  # 'inf' and 'nan' as strings, where null would hide them
    "output_format_json_validate_utf8": 0,  # the tests compare what is stored, not a fixed copy
    "date_time_output_format": "simple",
}


class QueryError(Exception):
    """The server refused a query; `code` is ClickHouse's own number (0 where it gave none)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server's address on both protocols, and the user that the oracle asks as."""

    host: str
    tcp_port: int
    http_port: int
    user: str = "default"
    password: str = ""

    def url(self, scheme: str, database: str = "", *, user: str | None = None, password: str = "") -> str:
        """Return a URL of this server for a scheme of Spoolhouse, as the endpoint's user unless another is given."""
        port = self.http_port if scheme.startswith("http") else self.tcp_port
        name, secret = (self.user, self.password) if user is None else (user, password)
        login = quote(name, safe="") + (":" + quote(secret, safe="") if secret else "")
        # Spelled out only where it says something: a plain URL is what a person would type.
        login = "" if login == "default" else login + "@"
        return f"{scheme}://{login}{self.host}:{port}" + (f"/{database}" if database else "")


def query(
    endpoint: Endpoint,
    sql: str,
    *,
    database: str = "",
    user: str | None = None,
    password: str = "",
    timeout: float = 60.0,
    settings: Mapping[str, Scalar] | None = None,
) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows, none for a statement that has no result.

    Integers are exact at any width. Bytes that are no UTF-8 come back as lone surrogates.
    """
    parameters = {**ALWAYS, **(settings or {})}
    if database:
        parameters["database"] = database
    login = f"{endpoint.user}:{endpoint.password}" if user is None else f"{user}:{password}"
    encoded = urlencode({name: int(value) if isinstance(value, bool) else value for name, value in parameters.items()})
    request = Request(
        f"http://{endpoint.host}:{endpoint.http_port}/?{encoded}",
        data=sql.encode(errors="surrogateescape"),
        headers={"Authorization": f"Basic {b64encode(login.encode()).decode()}"},
    )
    try:
        with _opener.open(request, timeout=timeout) as response:
            body: bytes = response.read()
    except HTTPError as error:
        with error:
            message = error.read().decode(errors="replace").strip()
        code = error.headers.get("X-ClickHouse-Exception-Code") or _code_in(message)
        raise QueryError(int(code), f"{message}\n{sql}") from None
    except HTTPException as error:  # the server died under us: the same to a caller as a refused connection
        raise ConnectionError(str(error)) from error
    # Not `splitlines`, which would split inside a string at U+2028 and the like.
    lines = body.decode(errors="surrogateescape").split("\n")
    return [tuple(json.loads(line)) for line in lines if line]


def _code_in(message: str) -> str:
    found = re.match(r"Code: (\d+)", message)
    return found[1] if found else "0"
