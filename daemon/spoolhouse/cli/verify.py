"""`spoolhouse verify`: settled files, row by row, beside what ClickHouse holds."""

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.monitoring.logs import printable, shown

if TYPE_CHECKING:
    from spoolhouse.recover.verify import Verified
    from spoolhouse.settings import Settings

_EPILOG = """\
Each row of a file is looked for by its sorting key, and all its columns are
compared. there: as it was written. superseded: a later version of the event
stands in its place. expired: older than the table's TTL, and gone. different
and missing are not as they should be: `spoolhouse replay` brings back what is
missing. The rows are put into a table of their own for it, which goes again.

examples:
  spoolhouse verify /var/spool/events/span/shop/processed/a.jsonl
  spoolhouse verify --since 2h
  spoolhouse verify --since 2026-11-20T18:00:00Z --json

exit codes:
   0  every row is there, superseded or expired
   1  rows are missing or different, or a file could not be verified
  69  ClickHouse is unavailable
  78  a wrong setting, or no such spool
"""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"(\d{1,6})([smhd])")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        usage="spoolhouse verify (FILE … | --since WHEN) [--json] [options]",
        help="compare settled files with ClickHouse, row by row",
        description="Compare settled files with what ClickHouse holds, row by row.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    """Verify; return the exit code."""
    if bool(options.files) == (options.since is not None):
        options.parser.error("name files, or --since")
    return asyncio.run(_verify(flags.settings(options), options.files, options.since, as_json=options.json))


async def _verify(settings: "Settings", paths: Sequence[Path], since_ms: int | None, *, as_json: bool) -> int:
    from spoolhouse.cli.estimate import Estimate  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.events.registry import load  # noqa: PLC0415  # nor this
    from spoolhouse.recover.processed_files import archive  # noqa: PLC0415  # nor this
    from spoolhouse.recover.verify import verify  # noqa: PLC0415  # nor this
    from spoolhouse.service.prepare import open_driver  # noqa: PLC0415  # nor this

    await asyncio.to_thread(flags.spool, settings)
    driver = open_driver(settings)
    totals: Counter[str] = Counter()
    good = True
    try:
        files = archive(settings, driver, load(settings.events.folder))
        if since_ms is not None:
            paths = [path async for path in files.taken_since(since_ms)]
        with Estimate("files verified", len(paths)) as estimate:
            async for verified in verify(files, paths):
                good &= _tell(verified, totals, as_json=as_json)
                estimate.advance()
    finally:
        await driver.close()
    if not as_json:
        print("rows: " + (", ".join(f"{count} {verdict}" for verdict, count in sorted(totals.items())) or "none"))
    return 0 if good else 1


def _tell(verified: "Verified", totals: "Counter[str]", *, as_json: bool) -> bool:
    """Print what came of a file; return whether all of it is as it should be."""
    if verified.error is not None:
        told = {"file": printable(verified.path), "error": printable(str(verified.error))}
        print(json.dumps(told) if as_json else shown(f"not verified: {verified.error}"))
        return False
    good = True
    for wanted, verdicts in verified.batches:
        for verdict in verdicts:
            totals[verdict.verdict] += verdict.rows
            good &= not verdict.is_bad
            if as_json:
                where = {"file": printable(verified.path), "table": wanted.table.name, "batch": wanted.landed_as}
                print(json.dumps({**where, **asdict(verdict)}))
            elif verdict.is_bad:
                print(
                    shown(f"{verified.path}: {verdict.rows} rows of {wanted.table.name} are {verdict.verdict}, such as")
                )
                print("".join(f"  {shown(example)}\n" for example in verdict.examples), end="")
    return good
