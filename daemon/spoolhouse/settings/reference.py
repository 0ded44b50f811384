"""All settings as text: the annotated settings file, and the page of the documentation.

Both are rendered from the declarations (name, default, docstring, `Live`), so they cannot differ from them.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ByteSize
from pydantic.fields import FieldInfo

from spoolhouse.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from spoolhouse.settings.base import RELOADABLE

_WIDTH = 120
_LIVE = "  # live"
_UNITS = (("GiB", 1024**3), ("MiB", 1024**2), ("MB", 10**6))
_LONG_NUMBER = 10_000

_TOML_HEAD = f"""\
# Every setting of Spoolhouse with its default and its meaning, as `spoolhouse config` prints them. A setting without a
# default is commented out, with an example.
#
# The environment wins over this file: {ENV_PREFIX}SPOOL{ENV_DELIMITER}QUIET is quiet under [spool]. Command-line
# flags win over both. An unknown name is refused in all three.
#
# `systemctl reload`, or SIGHUP, reads this file again. Settings marked "live" change at once (shipments that are in the
# journal keep their limits), the log names those that need a restart, and a file with a mistake changes nothing.
#
# Times are seconds unless the name says otherwise. Sizes are bytes, or texts such as "16MiB" and "128MB".
"""

_MARKDOWN_HEAD = f"""\
# Configuration

`spoolhouse config --markdown` prints this page, and `spoolhouse config` prints
[config/spoolhouse.toml](../config/spoolhouse.toml): the same settings as a TOML file to edit. Do not edit this page:
change the docstrings in `daemon/spoolhouse/settings/`.

```sh
spoolhouse config > spoolhouse.toml        # every setting with its default and its meaning
spoolhouse check --config spoolhouse.toml  # the faults of an edited one, and their fixes
```

The first source that gives a setting wins:

1. a command-line flag (`spoolhouse ingest --help`);
2. the environment: `{ENV_PREFIX}CLICKHOUSE{ENV_DELIMITER}URL` is `clickhouse.url`;
3. a TOML file: `--config`, else `{ENV_PREFIX}CONFIG`, else `/etc/spoolhouse/spoolhouse.toml`;
4. the default.

An unknown name is refused in every source (exit code 78). SIGHUP, or `systemctl reload`, reads the file again: a
setting marked *live* changes at once, the log names each setting that needs a restart, and a file with a mistake
changes nothing.

Times are seconds unless the name says otherwise. Sizes are bytes, or texts such as `16MiB` and `128MB`.
"""


def as_toml() -> str:
    """Return the annotated settings file: reading it gives the defaults."""
    return _TOML_HEAD + "".join(_toml_table(name, group) for name, group in _groups().items())


def as_markdown() -> str:
    """Return the page of the documentation, with a table for each group."""
    return _MARKDOWN_HEAD + "".join(_markdown_table(name, group) for name, group in _groups().items())


def _groups() -> Mapping[str, type[BaseModel]]:
    found = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: group for name, group in found.items() if isinstance(group, type) and issubclass(group, BaseModel)}


def _toml_table(table: str, group: type[BaseModel]) -> str:
    meanings = _meanings(group)
    lines = ["", f"[{table}]", *_comment(inspect.getdoc(group) or "")]
    for name, field in group.model_fields.items():
        sign = "# " if field.default is None else ""
        live = _LIVE if RELOADABLE in field.metadata else ""
        lines += ["", *_comment(meanings[name]), f"{sign}{name} = {_shown(field)}{live}"]
    return "".join(f"{line}\n" for line in lines)


def _markdown_table(table: str, group: type[BaseModel]) -> str:
    meanings = _meanings(group)
    lines = ["", f"## {table}", "", inspect.getdoc(group) or "", "", "| setting | default | live | meaning |"]
    lines += ["|---|---|---|---|"]
    for name, field in group.model_fields.items():
        default = f"none; `{_shown(field)}` is an example" if field.default is None else f"`{_shown(field)}`"
        live = "live" if RELOADABLE in field.metadata else ""
        lines += [f"| `{table}.{name}` | {default} | {live} | {meanings[name]} |"]
    return "".join(f"{line}\n" for line in lines)


def _meanings(group: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstring below each setting as one line. Python does not keep it, so the source is parsed."""
    choices = {name: _choices(field) for name, field in group.model_fields.items()}
    return {name: f"{' '.join(text.split())}{choices[name]}" for name, text in _docstrings(group)}


def _docstrings(group: type[BaseModel]) -> Iterator[tuple[str, str]]:
    for statement in ast.walk(ast.parse(inspect.getsource(group))):
        if not isinstance(statement, ast.ClassDef):
            continue
        for before, after in pairwise(statement.body):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    yield name, text


def _choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return f" Accepted: {', '.join(f'`{choice}`' for choice in get_args(field.annotation))}."


def _comment(text: str) -> list[str]:
    """Return a docstring as the comment of a TOML file, which has no markup."""
    plain = " ".join(text.replace("`", "").split())
    return textwrap.wrap(
        plain,
        width=_WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _shown(field: FieldInfo) -> str:
    """Return a setting's default as TOML, or its example where there is no default."""
    value = field.default
    if value is None:
        [value] = field.examples or []
    if isinstance(value, ByteSize):
        unit, factor = next((unit, factor) for unit, factor in _UNITS if value % factor == 0)
        value = f"{value // factor}{unit}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}" if value >= _LONG_NUMBER else str(value)
    return json.dumps(value)
