"""`spoolhouse types`: the fields of each event type, and their columns."""

import argparse
import difflib
import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import to_builtins

from spoolhouse.cli import flags
from spoolhouse.errors import BadSettingError

if TYPE_CHECKING:
    from spoolhouse.events.reference import FieldReference, TypeReference
    from spoolhouse.events.shapes.shape import Shape

_EPILOG = """\
Types of your own (events.folder) are listed, too. `spoolhouse explain` shows
what becomes of the lines of a file.

examples:
  spoolhouse types
  spoolhouse types span
  spoolhouse types --json | jq -r '.types[].example'

exit codes:
   0  printed
  78  a wrong setting, or no such type
"""
_WIDEST = 120
_INDENT = "      "


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "types",
        usage="spoolhouse types [NAME] [--json | --markdown] [options]",
        help="list the event types, their fields, and an example of each",
        description="List the event types; of one: its fields, columns, and an example line.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="an event type, such as span; or otlp, json_log, mastra"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object")
    how.add_argument("--markdown", action="store_true", help="print a page of tables")
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the types; return the exit code."""
    settings = flags.settings(options)
    from spoolhouse.events.reference import reference  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.events.reference_page import as_markdown  # noqa: PLC0415  # as above
    from spoolhouse.events.registry import load  # noqa: PLC0415  # as above
    from spoolhouse.events.shapes import SHAPES  # noqa: PLC0415  # as above

    events = load(settings.events)
    shapes: Sequence[Shape] = SHAPES
    if options.name is not None:
        name = known(options.name, [*events, *(one.name for one in SHAPES)])
        events = {one: event for one, event in events.items() if one == name}
        shapes = [one for one in SHAPES if one.name == name]
    prefix = settings.clickhouse.insert_prefix
    kinds = {name: reference(event) for name, event in events.items()}
    if options.markdown:
        sys.stdout.write(as_markdown(events, shapes))
    elif options.json:
        print(json.dumps({"types": [_record(kind, prefix) for kind in kinds.values()], "shapes": _shapes(shapes)}))
    elif options.name is not None:
        for kind in kinds.values():
            sys.stdout.writelines(f"{line}\n" for line in _one(kind, prefix))
        for shape in shapes:
            sys.stdout.writelines(f"{line}\n" for line in _shape(shape))
    else:
        sys.stdout.writelines(f"{line}\n" for line in _all(kinds, shapes, prefix))
    return 0


def known(name: str, names: Iterable[str]) -> str:
    """Return the name of an event type. Raises `BadSettingError` if there is none of that name."""
    if name in (every := list(names)):
        return name
    near = difflib.get_close_matches(name, every, n=1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(every)}"
    raise BadSettingError(f"no event type {name!r}; {meant}")


def _record(kind: "TypeReference", prefix: str) -> Mapping[str, object]:
    return {
        **to_builtins(kind),
        "tables": [prefix + table for table in kind.tables],
        "required": kind.required,
        "example": json.dumps(kind.example, ensure_ascii=False),
    }


def _shapes(shapes: "Iterable[Shape]") -> list[Mapping[str, object]]:
    return [
        {
            "name": one.name,
            "keys": sorted(one.keys),
            "folders": sorted(one.folders),
            "about": one.about,
            "becomes": one.becomes,
        }
        for one in shapes
    ]


def _all(kinds: "Mapping[str, TypeReference]", shapes: "Sequence[Shape]", prefix: str) -> Iterator[str]:
    width = max(map(len, kinds))
    for name, kind in kinds.items():
        needs = [" or ".join(kind.needs)] if kind.needs else []
        yield from _wrapped(f"{name:<{width}}  ", ", ".join([*kind.required, *needs]), " " * (width + 2))
    yield ""
    yield from _wrapped("", "Listed are the fields that a line cannot be without; its project and, in the folder of "
                        f"its type, its type may be absent. Tables have the prefix {prefix}.")  # fmt: skip
    if shapes:
        yield from ("", "Lines of other programs that are read, too:")
        width = max(len(one.name) for one in shapes)
        for one in shapes:
            where = f" (in {', '.join(sorted(one.folders))}/)" if one.folders else ""
            told = one.about or f"by {', '.join(sorted(one.keys))}"
            yield from _wrapped(f"  {one.name:<{width}}  ", f"{told}{where}", " " * (width + 4))
    yield ""
    yield from _wrapped("", "spoolhouse types NAME shows all fields of an event type, and an example; of lines of other"
                        " programs, what becomes of them.")  # fmt: skip


def _one(kind: "TypeReference", prefix: str) -> Iterator[str]:
    own, *others = (prefix + table for table in kind.tables)
    more = f", rows of {' and '.join(others)}" if others else ""
    yield from _wrapped(f"{kind.name}: ", f"a row of {own}{more}, kept for {kind.ttl_days} days")
    if kind.needs:
        yield from _wrapped("", f"At least one of {', '.join(kind.needs)} is required.")
    yield from ("", "An example, as one line:")
    yield from _example(kind.example)
    yield ""
    for field in kind.fields:
        yield from _field(field)
    for array in kind.arrays:
        yield from ("", f"Each object in {array.key} is a row of {prefix}{array.table}:")
        for field in array.fields:
            yield from _field(field)
    if kind.filled:
        yield from ("", "Columns that no field fills:")
        for column, meaning in kind.filled.items():
            yield from _wrapped(f"  {column}: ", meaning, _INDENT)


def _shape(shape: "Shape") -> Iterator[str]:
    yield from _wrapped(f"{shape.name}: ", shape.about)
    where = f"in {', '.join(sorted(shape.folders))}/" if shape.folders else "in any folder"
    yield from _wrapped("", f"A line of it, {where}, has at least one of {', '.join(sorted(shape.keys))}.")
    if shape.becomes:
        yield from ("", "What stands in a line, and what it becomes:")
    for given, made in shape.becomes.items():
        yield from _wrapped(f"  {given.replace('`', '')}: ", made.replace("`", ""), _INDENT)


def _example(example: Mapping[str, object]) -> Iterator[str]:
    """Yield an example whose lines break between fields: joined, or as they are, they are the same JSON."""
    line = "  {"
    for place, (key, value) in enumerate(example.items()):
        last = place == len(example) - 1
        text = f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}{'}' if last else ','}"
        if len(line) + len(text) + 1 > _width():
            yield line.rstrip()
            line = "   "
        line += text + ("" if last else " ")
    yield line


def _field(field: "FieldReference") -> Iterator[str]:
    absent = "required" if field.required else f"absent: {field.absent}"
    columns = "" if field.columns == (field.key,) else f" → {', '.join(field.columns)}"
    yield from _wrapped(f"  {field.key}: ", f"{field.value}, {absent}{columns}", _INDENT)
    if field.also:
        yield from _wrapped(f"{_INDENT}also ", ", ".join(field.also), _INDENT)
    if field.choices:
        yield from _wrapped(_INDENT, f"one of {', '.join(field.choices)}", _INDENT)
    names: dict[str, list[str]] = {}
    for name, choice in field.names.items():
        names.setdefault(choice, []).append(name or '""')
    for choice, others in names.items():
        yield from _wrapped(f"{_INDENT}{choice}: also ", ", ".join(others), _INDENT + "  ")
    for choice in dict.fromkeys(field.implied.values()):
        keys = ", ".join(key for key, meant in field.implied.items() if meant == choice)
        yield from _wrapped(f"{_INDENT}{choice}: also if absent, and there is an object under ", keys, _INDENT + "  ")


def _wrapped(first: str, text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, _width(), initial_indent=first, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)
