"""What the commands that ask have in common: flags, the way to the store, and how answers are printed."""

import argparse
import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from spoolhouse.cli import flags
from spoolhouse.errors import BadRequestError

if TYPE_CHECKING:
    from spoolhouse.query import Query
    from spoolhouse.query.aliases import Client
    from spoolhouse.settings import Settings

TIMES = "Times are UTC. What was cut off is said on standard error.\n"
WINDOW = """\
WHEN is an age (90s, 30m, 2h, 7d), a date or an ISO-8601 time; without --since
it is the last 24 hours.
"""
LINES = "--json prints lines that the spool takes again.\n"


def add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    usage: str,
    text: str,
    examples: str,
    *,
    notes: str = TIMES + WINDOW,
) -> argparse.ArgumentParser:
    """Add a command with the flags that all have, and return its parser."""
    parser = commands.add_parser(
        name,
        usage=f"spoolhouse {usage} [options]",
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"{notes}\nexamples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    return parser


def add_scope(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the project and the time."""
    group = parser.add_argument_group("scope")
    group.add_argument("--project", metavar="NAME", help="the project, required")
    group.add_argument("--all-projects", action="store_true", help="all of them, for operators")
    group.add_argument("--since", metavar="WHEN", help="not before")
    group.add_argument("--until", metavar="WHEN", help="not after")


_MEANINGS = {
    "words": "each of these words, in any case",
    "contains": "this text, letter for letter",
    "tag": "has this tag",
    "name": "for traces and spans, a part of the name",
}


def add_filter(
    group: "argparse._ArgumentGroup", name: str, *, several: bool = True, choices: Iterable[str] = ()
) -> None:
    """Add the flag of a filter; `several` values mean any of them."""
    flag = f"--{name}"
    if name in {"min", "max"}:
        group.add_argument(flag, dest=f"by_{name}", type=float, metavar="N", help="of the duration, value or latency")
    elif not several or name in {"words", "contains", "tag"}:
        group.add_argument(flag, dest=f"by_{name}", metavar="TEXT", help=_MEANINGS[name])
    else:
        text = "; ".join(filter(None, (", ".join(choices), "repeat it for any of several")))
        group.add_argument(flag, dest=f"by_{name}", action="append", metavar="TEXT", help=text)


def add_label(group: "argparse._ArgumentGroup") -> None:
    """Add the flag of labels."""
    group.add_argument(
        "--label",
        action="append",
        metavar="KEY=VALUE",
        help="of the metadata, attributes or labels; repeat it to ask for all of several",
    )


def filters(options: argparse.Namespace) -> dict[str, Any]:
    """Return the filters that were given, by name."""
    found = {name[3:]: value for name, value in vars(options).items() if name.startswith("by_") and value is not None}
    return {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in found.items()}


def scope(options: argparse.Namespace) -> dict[str, Any]:
    """Return the project, the times and the labels that were given."""
    from spoolhouse.query import ALL_PROJECTS  # noqa: PLC0415  # --help needs none of it

    if (options.project is None) != options.all_projects:
        raise BadRequestError("name one project with --project, or --all-projects")
    labels = {}
    for text in getattr(options, "label", None) or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadRequestError(f"--label: KEY=VALUE is accepted, not {text[:60]!r}")
        labels[key] = value
    project = ALL_PROJECTS if options.all_projects else options.project
    return {"project": project, "since": options.since, "until": options.until, "label": labels or None}


def run(options: argparse.Namespace, ask: "Callable[[Query], Coroutine[Any, Any, int]]") -> int:
    """Ask the store of the settings; return the exit code."""

    async def asked() -> int:
        async with opened(options) as query:
            return await ask(query)

    return asyncio.run(asked())


@asynccontextmanager
async def opened(options: argparse.Namespace) -> "AsyncGenerator[Query]":
    """Lend the way to the store of the settings."""
    async with client(flags.settings(options)) as query:
        yield query


def client(settings: "Settings") -> "Client":
    """Return what asks the store of the settings."""
    from spoolhouse.query import connect  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.query.aliases import Client  # noqa: PLC0415  # nor this

    prefix = settings.clickhouse.table_prefix
    if settings.store.url is not None:
        return connect(settings.store.url, table_prefix=prefix)
    from spoolhouse.service.clickhouse import open_driver  # noqa: PLC0415  # nor this
    from spoolhouse.store.clickhouse.query.reader import ClickHouseReader  # noqa: PLC0415  # nor this

    return Client(ClickHouseReader(open_driver(settings), prefix))


def print_lines(lines: Iterable[bytes]) -> None:
    """Print lines of JSON, which are UTF-8 whatever the terminal is."""
    for line in lines:
        sys.stdout.buffer.write(line + b"\n")


def say(text: str) -> None:
    """Say what the answer does not show."""
    print(text, file=sys.stderr)
