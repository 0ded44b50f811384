"""`spoolhouse check`: checks settings, spool and store, and prints problems with their fixes."""

import argparse
import asyncio
import json
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec import to_builtins

from spoolhouse.cli import flags
from spoolhouse.cli.words import counted
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from rich.console import Console

    from spoolhouse.doctor.finding import Finding
    from spoolhouse.settings import Settings
    from spoolhouse.store.clickhouse.inspection import Inspection
    from spoolhouse.store.clickhouse.schema.grants import Needs

_EPILOG = """\
It checks the settings, the spool (rights, one file system, space, inodes,
inotify), and the store: whether it answers, its disk, the schema; of ClickHouse
also its version, the user's rights and profile, clocks, deduplication, parts.
There it inserts a row into a table of its own, and drops the table. It changes
nothing else, but for what --fix says.
If rights are missing, it ends with the statements that grant all of them.

examples:
  spoolhouse check --file-storage-path /var/spool \\
      --clickhouse-url clickhouse://db:9000
  spoolhouse check --config /etc/spoolhouse/spoolhouse.toml --quiet
  spoolhouse check --grants --clickhouse-username spoolhouse
  spoolhouse check --json | jq '.findings[] | select(.level == "fault") | .hint'

exit codes:
   0  nothing is wrong; there may be warnings
   1  at least one fault
  78  a wrong setting
"""

OK = 0
FAULTY = 1
_INDENT = 18
_NARROWEST = 20
_COLOURS = {"good": "green", "warning": "yellow", "fault": "bold red"}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "check",
        usage="spoolhouse check [--fix] [--json | --quiet | --grants] [options]",
        help="find what will fail, and how to fix it",
        description="Find what will fail (settings, spool, store), and how to fix it.",
        epilog=_EPILOG,
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object")
    how.add_argument("--quiet", action="store_true", help="leave out good findings")
    how.add_argument(
        "--grants",
        action="store_true",
        help="print the SQL that creates a user with all rights that are needed, and exit",
    )
    parser.add_argument(
        "--fix", action="store_true", help="make the files visible that producers left when they died (drafts)"
    )
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check, and print each finding as it comes; return the exit code."""
    settings = flags.settings(options)
    if options.grants:
        print(_grants(settings), end="")
        return OK
    findings = asyncio.run(_findings(settings, show=not options.json, quiet=options.quiet, fix=options.fix))
    count = Counter(finding.level.value for finding in findings)
    if options.json:
        report = {"fine": not count["fault"], "faults": count["fault"], "warnings": count["warning"]}
        given = {"grants": _grants(settings)} if _lacks_rights(findings) else {}
        print(json.dumps({**report, "findings": [to_builtins(finding) for finding in findings], **given}, indent=2))
    else:
        if _lacks_rights(findings):
            print(f"\n{_grants(settings)}")
        found = f"{counted(count['fault'], 'fault')}, {counted(count['warning'], 'warning')}, {count['good']} good"
        print(found, file=sys.stderr)
    return FAULTY if count["fault"] else OK


def _lacks_rights(findings: "list[Finding]") -> bool:
    return any(finding.subject == "rights" and finding.hint.startswith("GRANT ") for finding in findings)


def _grants(settings: "Settings") -> str:
    if settings.store.path is not None:
        return (
            f"-- No grants are needed: {settings.store.path} is a file. Who may write to its folder may land in it.\n"
        )
    from spoolhouse.store.clickhouse.schema.grants import block  # noqa: PLC0415  # --help needs none of this

    user = settings.clickhouse.username
    return block(needs_of(settings), "spoolhouse" if user == "default" else user)


def needs_of(settings: "Settings") -> "Needs":
    """Return the facts that decide which rights the user needs."""
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.service.clickhouse import schema_of  # noqa: PLC0415  # nor this
    from spoolhouse.store.clickhouse.schema.grants import Needs  # noqa: PLC0415  # nor this

    clickhouse = settings.clickhouse
    return Needs(
        schema=schema_of(settings, load(settings.events)),
        prefix=clickhouse.table_prefix,
        migrates=clickhouse.migrate,
        cluster=clickhouse.cluster is not None,
        several=len(clickhouse.hosts) > 1,
    )


@asynccontextmanager
async def open_store(settings: "Settings") -> "AsyncIterator[Inspection]":
    """Yield the ClickHouse that the settings name, for the doctor, and close it after. Raises `BadSettingError`."""
    from spoolhouse.service.clickhouse import open_driver, open_servers  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.clickhouse.inspection import Inspection  # noqa: PLC0415  # nor this

    clickhouse = settings.clickhouse
    store = Inspection(
        admin=open_driver(settings, database="default"),
        driver=open_driver(settings),
        servers=open_servers(settings),
        needs=needs_of(settings),
        user=clickhouse.username,
        cluster_name=clickhouse.cluster,
        keeper=clickhouse.keeper,
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _examination(settings: "Settings", *, fix: bool) -> "AsyncIterator[AsyncIterator[Finding]]":
    """Yield the findings on the settings, the spool and the store, and close the store after."""
    from spoolhouse.doctor.examine import examine, examine_file  # noqa: PLC0415  # --help needs none of this

    if settings.store.path is None:
        async with open_store(settings) as store:
            yield examine(settings, store, fix=fix)
        return
    from spoolhouse.events.registry import load  # noqa: PLC0415  # nor this
    from spoolhouse.service.duckdb import tables_of  # noqa: PLC0415  # nor this
    from spoolhouse.store.duckdb.database import Database  # noqa: PLC0415  # nor this
    from spoolhouse.store.duckdb.inspection import Inspection as FileInspection  # noqa: PLC0415  # nor this

    clickhouse, tables = settings.clickhouse, tables_of(load(settings.events))
    database = Database(settings.store.path, memory=settings.duckdb.memory, read_only=True)
    try:
        yield examine_file(
            settings,
            FileInspection(
                database=database, tables=tables, prefix=clickhouse.table_prefix, migrates=clickhouse.migrate
            ),
            fix=fix,
        )
    finally:
        await database.close()


async def _findings(settings: "Settings", *, show: bool, quiet: bool, fix: bool) -> "list[Finding]":
    from rich.console import Console  # noqa: PLC0415  # --help needs none of this

    console = Console(highlight=False, markup=False, soft_wrap=True)
    findings = []
    async with _examination(settings, fix=fix) as examination:
        async for finding in examination:
            findings.append(finding)
            if show and not (quiet and finding.level.value == "good"):
                _print(console, finding)
    return findings


def _print(console: "Console", finding: "Finding") -> None:
    """Print one finding; control characters in it are escaped."""
    level = finding.level.value
    console.print(f"{level:8}", style=_COLOURS[level], end="")
    first, *more = _wrapped(console, shown(finding.what), _INDENT)
    console.print(f"{finding.subject:10}{first}")
    for line in more:
        console.print(f"{'':{_INDENT}}{line}")
    for word, text in (("why: ", finding.why), ("fix: ", finding.hint)):
        for number, line in enumerate(_wrapped(console, shown(text), _INDENT + len(word)) if text else ()):
            console.print(f"{'':{_INDENT}}{word if number == 0 else ' ' * len(word)}{line}")


def _wrapped(console: "Console", text: str, indent: int) -> list[str]:
    """Return a text as lines that fit beside an indent on a terminal; a longer word is not cut."""
    if not console.is_terminal:
        return [text]
    width = max(console.width - indent, _NARROWEST)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
