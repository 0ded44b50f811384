"""`spoolhouse check`: the doctor."""

import argparse
import asyncio
import json
import sys
import textwrap
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from rich.console import Console

    from spoolhouse.doctor.finding import Finding
    from spoolhouse.settings import Settings

_EPILOG = """\
Looked at are the settings, the spool (rights, one file system, space, inodes,
inotify), and ClickHouse: whether it answers, its version, the user's rights
and profile, clocks, disks, the schema, deduplication, parts. Last, a row is
landed in a table of its own, which is removed again. Nothing else is changed.
Where rights are missing, it ends with the statements that give all of them.

examples:
  spoolhouse check --file-storage-path /var/spool/events \\
      --clickhouse-url clickhouse://db:9000
  spoolhouse check --config /etc/spoolhouse/spoolhouse.toml --quiet
  spoolhouse check --grants --clickhouse-username spoolhouse
  spoolhouse check --json | jq '.findings[] | select(.level == "fault") | .mend'

exit codes:
   0  nothing is wrong; there may be warnings
   1  something will not work
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
        usage="spoolhouse check [--json | --quiet | --grants] [options]",
        help="find what will go wrong, and how to mend it",
        description="Find what will go wrong (settings, spool, server), and how to mend it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object")
    how.add_argument("--quiet", action="store_true", help="leave out what is good")
    how.add_argument(
        "--grants", action="store_true", help="print the SQL that makes a user with all the rights it needs, and end"
    )
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, and print the findings as they come; return the exit code."""
    settings = flags.settings(options)
    if options.grants:
        print(_grants(settings), end="")
        return OK
    findings = asyncio.run(_findings(settings, show=not options.json, quiet=options.quiet))
    count = Counter(finding.level.value for finding in findings)
    if options.json:
        report = {"fine": not count["fault"], "faults": count["fault"], "warnings": count["warning"]}
        given = {"grants": _grants(settings)} if _lacks_rights(findings) else {}
        print(json.dumps({**report, "findings": [asdict(finding) for finding in findings], **given}, indent=2))
    else:
        if _lacks_rights(findings):
            print(f"\n{_grants(settings)}")
        print(f"{count['fault']} faults, {count['warning']} warnings, {count['good']} good", file=sys.stderr)
    return FAULTY if count["fault"] else OK


def _lacks_rights(findings: "list[Finding]") -> bool:
    return any(finding.subject == "rights" and finding.hint.startswith("GRANT ") for finding in findings)


def _grants(settings: "Settings") -> str:
    from spoolhouse.doctor.examine import needs_of  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.clickhouse.schema.grants import block  # noqa: PLC0415  # --help needs none of it

    user = settings.clickhouse.username
    return block(needs_of(settings), "spoolhouse" if user == "default" else user)


async def _findings(settings: "Settings", *, show: bool, quiet: bool) -> "list[Finding]":
    from rich.console import Console  # noqa: PLC0415  # --help needs none of this

    from spoolhouse.doctor.examine import examine  # noqa: PLC0415  # --help needs none of it

    console = Console(highlight=False, markup=False, soft_wrap=True)
    findings = []
    async for finding in examine(settings):
        findings.append(finding)
        if show and not (quiet and finding.level.value == "good"):
            _print(console, finding)
    return findings


def _print(console: "Console", finding: "Finding") -> None:
    """Print one finding; nothing in it may act on the terminal, wherever it comes from."""
    level = finding.level.value
    console.print(f"{level:8}", style=_COLOURS[level], end="")
    first, *more = _wrapped(console, shown(finding.what), _INDENT)
    console.print(f"{finding.subject:10}{first}")
    for line in more:
        console.print(f"{'':{_INDENT}}{line}")
    for word, text in (("why: ", finding.why), ("mend: ", finding.hint)):
        for number, line in enumerate(_wrapped(console, shown(text), _INDENT + len(word)) if text else ()):
            console.print(f"{'':{_INDENT}}{word if number == 0 else ' ' * len(word)}{line}")


def _wrapped(console: "Console", text: str, indent: int) -> list[str]:
    """Return a text as lines that fit beside an indent on a terminal; a word that is too long for one is not cut."""
    if not console.is_terminal:
        return [text]
    width = max(console.width - indent, _NARROWEST)
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
