"""`spoolhouse retry`: files of failed/ once more."""

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
A file ends in failed/ if it cannot be read as one: a corrupt archive, an error
of the disk; the note beside it says why. Mend it there first, or put a mended
copy in its place. It then goes back to where it was dropped, and a daemon takes
it as any other.

What of it has landed must not land twice: the ledger table tells. Of an archive
then only what stood behind the damage goes back, as a file of its own, and the
archive goes to processed/. A file is left alone, with the reason, if nobody can
tell what of it has landed, if a daemon may be at it, or if it is a plain one of
which rows have landed. Run it as the daemon's user.

examples:
  spoolhouse retry /var/spool/events/span/shop/failed/a.jsonl.gz
  spoolhouse retry --all --dry-run

exit codes:
   0  all went back
   1  some were left alone
  69  ClickHouse is unavailable
  78  a wrong setting, or no such spool
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "retry",
        usage="spoolhouse retry (PATH … | --all) [--dry-run] [options]",
        help="bring files of failed/ back to where they were dropped",
        description="Bring mended files of failed/, or what of them has not landed, back to where\nthey were dropped.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files in failed/")
    parser.add_argument("--all", action="store_true", help="all that are in any failed/ of the spool")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Retry; return the exit code."""
    if bool(options.paths) == options.all:
        options.parser.error("name files, or --all")
    return asyncio.run(_retry(flags.settings(options), options.paths, dry_run=options.dry_run))


async def _retry(settings: "Settings", paths: list[Path], *, dry_run: bool) -> int:
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.recover.failed_files import Failed  # noqa: PLC0415  # nor this
    from spoolhouse.recover.processed_files import archive  # noqa: PLC0415  # nor this
    from spoolhouse.recover.rejected_lines import lock  # noqa: PLC0415  # nor this
    from spoolhouse.service.prepare import open_driver  # noqa: PLC0415  # nor this

    spool = await asyncio.to_thread(flags.spool, settings)
    held = await asyncio.to_thread(lock, spool)
    driver = open_driver(settings)
    code = 0
    try:
        failed = Failed(archive=archive(settings, driver, load(settings.events.folder)))
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
                _tell(where, "would go" if dry_run else "back")
    finally:
        await driver.close()
        os.close(held)
    return code


def _tell(where: "Retried", what: str) -> None:
    if where.rest is not None:
        print(shown(f"{what} to {where.rest}: what had not landed of {where.file}"))
    elif where.file.parent.name == layout.PROCESSED:
        print(shown(f"{what} to {where.file}: all of it has landed, or is on its way"))
    else:
        print(shown(f"{what} to {where.file}"))
