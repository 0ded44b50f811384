"""`spoolhouse verify`: compares processed files with the store, row by row."""

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import to_builtins

from spoolhouse.cli import flags
from spoolhouse.cli.words import counted
from spoolhouse.monitoring.logs import printable, shown

if TYPE_CHECKING:
    from spoolhouse.recover.verify import Verified
    from spoolhouse.settings import Settings

_EPILOG = """\
Each row of a file is found by its sorting key, and all its columns are
compared. there: it is as it was written. superseded: the table holds a later
version of the event. expired: it is older than the table's TTL, and gone.
deleted: `spoolhouse delete` has deleted it.
different and missing are faults: `spoolhouse replay` restores missing rows.
The rows are inserted into a temporary table, which is dropped after.

examples:
  spoolhouse verify /var/spool/observability/span/shop/processed/a.jsonl
  spoolhouse verify --since 2h
  spoolhouse verify --since 2026-11-20T18:00:00Z --json

exit codes:
   0  every row is there, superseded, expired or deleted
   1  rows are missing or different, or a file could not be verified
  69  the store is unavailable
  78  a wrong setting, or no such spool
"""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"(\d{1,6})([smhd])")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        usage="spoolhouse verify (FILE … | --since WHEN) [--json] [options]",
        help="compare processed files with the store, row by row",
        description="Compare processed files with the store, row by row.",
        epilog=_EPILOG,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="files in processed/ or failed/")
    parser.add_argument(
        "--since",
        type=since,
        metavar="WHEN",
        help="all files claimed since then: 90s, 30m, 2h, 7d, or an ISO-8601 time",
    )
    parser.add_argument("--json", action="store_true", help="print an object a line")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run, parser=parser)


def since(text: str) -> int:
    """Return a time, or an age, as ms since 1970, for argparse."""
    if ago := _AGO.fullmatch(text):
        return int((time.time() - int(ago[1]) * _UNITS[ago[2]]) * 1000)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither an age such as 2h nor an ISO-8601 time") from None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1000)


def run(options: argparse.Namespace) -> int:
    """Verify the files; return the exit code."""
    if bool(options.files) == (options.since is not None):
        options.parser.error("name files, or --since")
    return asyncio.run(_verify(flags.settings(options), options.files, options.since, as_json=options.json))


async def _verify(settings: "Settings", paths: Sequence[Path], since_ms: int | None, *, as_json: bool) -> int:
    from spoolhouse.cli.estimate import Estimate  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.cli.recovery import open_files  # noqa: PLC0415  # nor this
    from spoolhouse.recover.verify import verify  # noqa: PLC0415  # nor this

    await asyncio.to_thread(flags.spool, settings)
    totals: Counter[str] = Counter()
    good = True
    async with open_files(settings) as files:
        if since_ms is not None:
            paths = [path async for path in files.claimed_since(since_ms)]
        with Estimate("files verified", len(paths)) as estimate:
            async for verified in verify(files, paths):
                good &= _report(verified, totals, as_json=as_json)
                estimate.advance()
    if not as_json:
        print("rows: " + (", ".join(f"{count} {verdict}" for verdict, count in sorted(totals.items())) or "none"))
    return 0 if good else 1


def _report(verified: "Verified", totals: "Counter[str]", *, as_json: bool) -> bool:
    """Print the verdicts on a file; return whether no row of it is missing or different."""
    if verified.error is not None:
        report = {"file": printable(verified.path), "error": printable(str(verified.error))}
        print(json.dumps(report) if as_json else shown(f"not verified: {verified.error}"))
        return False
    good = True
    for batch, diffs in verified.batches:
        for diff in diffs:
            totals[diff.verdict] += diff.rows
            good &= not diff.is_bad
            if as_json:
                where = {"file": printable(verified.path), "table": batch.table.name, "batch": batch.landed_as}
                print(json.dumps({**where, **to_builtins(diff)}))
            elif diff.is_bad:
                rows = f"{counted(diff.rows, 'row')} of {batch.table.name} {'is' if diff.rows == 1 else 'are'}"
                print(shown(f"{verified.path}: {rows} {diff.verdict}, such as"))
                print("".join(f"  {shown(example)}\n" for example in diff.examples), end="")
    return good
