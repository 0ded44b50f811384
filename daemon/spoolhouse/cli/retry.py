"""`spoolhouse retry`: moves files of failed/ back to where they were dropped."""

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.errors import SpoolError
from spoolhouse.monitoring.logs import shown
from spoolhouse.spool import layout

if TYPE_CHECKING:
    from spoolhouse.recover.failed_files import Retried
    from spoolhouse.settings import Settings

_EPILOG = """\
A file is moved to failed/ if it cannot be read: a corrupt archive, an error of
the disk; the file beside it says why. Repair it there first, or put a repaired
copy in its place. It is then moved back to where it was dropped, and a daemon
claims it as any other file.

No line lands, or is rejected, twice: the ledger table says how far a file was
read. If any of it was, only the lines behind the damage go back, as a file of
their own, and the file itself is moved to processed/. A file is left alone,
with the reason, if it is not known which of its lines have landed, or if a
daemon may be shipping it. Run the command as the daemon's user.

examples:
  spoolhouse retry /var/spool/observability/span/shop/failed/a.jsonl.gz
  spoolhouse retry --all --dry-run

exit codes:
   0  all went back
   1  some were left alone
  69  the store is unavailable
  78  a wrong setting, or no such spool
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "retry",
        usage="spoolhouse retry (PATH … | --all) [--dry-run] [options]",
        help="move files of failed/ back to where they were dropped",
        description="Move repaired files of failed/, or their lines that have not landed, back.",
        epilog=_EPILOG,
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files in failed/")
    parser.add_argument("--all", action="store_true", help="all files in the failed/ folders of the spool")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and change nothing")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Retry the files; return the exit code."""
    if bool(options.paths) == options.all:
        options.parser.error("name files, or --all")
    return asyncio.run(_retry(flags.settings(options), options.paths, dry_run=options.dry_run))


async def _retry(settings: "Settings", paths: list[Path], *, dry_run: bool) -> int:
    from spoolhouse.cli.recovery import open_files  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.recover.failed_files import FailedFiles  # noqa: PLC0415  # nor this
    from spoolhouse.recover.rejected_lines import lock_replays  # noqa: PLC0415  # nor this

    spool = await asyncio.to_thread(flags.spool, settings)
    locked = await asyncio.to_thread(lock_replays, spool)
    code = 0
    try:
        async with open_files(settings) as files:
            failed = FailedFiles(files=files)
            paths = paths or await asyncio.to_thread(lambda: list(failed.all()))
            if not paths:
                print(f"Nothing to retry: there are no files in {layout.FAILED}/.")
            for path in paths:
                try:
                    where = await failed.retry(path, dry_run=dry_run)
                except SpoolError as error:
                    print(shown(f"left alone: {error}"))
                    code = 1
                else:
                    _report(where, "would go" if dry_run else "back")
    finally:
        os.close(locked)
    return code


def _report(where: "Retried", what: str) -> None:
    if where.rest is not None:
        print(shown(f"{what} to {where.rest}: the lines of {where.file} that had not landed"))
    elif where.file.parent.name == layout.PROCESSED:
        print(shown(f"{what} to {where.file}: all of it has landed, or is on its way"))
    else:
        print(shown(f"{what} to {where.file}"))
