"""`spoolhouse release`: return files that dead instances claimed and never sent to where they were dropped."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.errors import SpoolError
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from spoolhouse.recover.give_up import GivenUp
    from spoolhouse.recover.ports import SentBatches
    from spoolhouse.settings import Settings
    from spoolhouse.spool.release import Released

_EPILOG = """\
For moving a spool to another host, or to other software. A daemon that starts
on the same spool does this by itself, and finishes sent files too. Files that
may have been sent are not released, but counted, with exit code 1. Files of a
running daemon are not touched.

A shipment is held (shipment_held in the log) if rows of it have landed before
a crash, and a file of it is gone, or shorter, or unreadable, since then. If
the file is gone for good, stop the daemons and give the shipment up: what has
landed stays, what is left of its files is moved to failed/, and the ledger
table says how many rows have landed, at least.

examples:
  spoolhouse release --file-storage-path /var/spool --dry-run
  spoolhouse release --file-storage-path /var/spool
  spoolhouse release --give-up --dry-run

exit codes:
   0  no file is claimed any more
   1  some files stay claimed: they may have been sent, or their daemon runs
  69  the store is unavailable (--give-up)
  78  there is no such spool
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "release",
        usage="spoolhouse release [--give-up] [--dry-run] [INSTANCE …] [options]",
        help="put back files that dead daemons claimed and never sent",
        description="Put back files that dead daemons of a spool claimed and never sent.",
        epilog=_EPILOG,
    )
    parser.add_argument("instances", nargs="*", metavar="INSTANCE", help="folders in .spoolhouse/ (default: all)")
    parser.add_argument("--give-up", action="store_true", help="give up shipments that wait for a file that is gone")
    parser.add_argument("--dry-run", action="store_true", help="list the files, and change nothing")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Release; return the exit code."""
    from spoolhouse.spool import instance_dirs  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.spool.release import release  # noqa: PLC0415  # nor this

    settings = flags.settings(options)
    root = flags.spool(settings)
    known = instance_dirs.names(root)
    if unknown := sorted(set(options.instances) - set(known)):
        raise SpoolError(f"{root}: there is no instance {unknown[0]}; there are: {', '.join(known) or 'none'}")
    if options.give_up:
        asyncio.run(_give_up(settings, root, options.instances or known, dry_run=options.dry_run))
    kept = 0
    for instance in options.instances or known:
        outcome = release(root, instance, dry_run=options.dry_run)
        _print(outcome, dry_run=options.dry_run)
        kept += outcome.kept or bool(outcome.trouble)
    if not known:
        print("No instance has left anything.", file=sys.stderr)
    return 1 if kept else 0


async def _give_up(settings: "Settings", root: Path, instances: list[str], *, dry_run: bool) -> None:
    from spoolhouse.events import registry  # noqa: PLC0415  # a plain release needs none of it
    from spoolhouse.events.declaration import tables  # noqa: PLC0415  # nor this
    from spoolhouse.recover.give_up import give_up  # noqa: PLC0415  # nor this

    events = registry.load(settings.events)
    async with _sent_batches(settings) as sent:
        for instance in instances:
            async for given_up in give_up(root, instance, sent, tables(events).values(), dry_run=dry_run):
                _print_given_up(given_up, dry_run=dry_run)


@asynccontextmanager
async def _sent_batches(settings: "Settings") -> "AsyncIterator[SentBatches]":
    """Yield what knows the batches in the store of the settings, and close it after."""
    if settings.store.path is not None:
        from spoolhouse.service.duckdb import open_database  # noqa: PLC0415  # a plain release needs none of it
        from spoolhouse.store.duckdb.store import DuckDbStore  # noqa: PLC0415  # nor this

        database = open_database(settings, settings.store.path)
        try:
            yield DuckDbStore(database, prefix=settings.clickhouse.table_prefix)
        finally:
            await database.close()
        return
    from spoolhouse.service.clickhouse import open_servers  # noqa: PLC0415  # a plain release needs none of it
    from spoolhouse.store.clickhouse.landing.sent_batches import ClickHouseSentBatches  # noqa: PLC0415  # nor this

    driver, clickhouse = open_servers(settings), settings.clickhouse
    try:
        yield ClickHouseSentBatches(driver=driver, prefix=clickhouse.insert_prefix, shards=clickhouse.shards)
    finally:
        await driver.close()


def _print_given_up(one: "GivenUp", *, dry_run: bool) -> None:
    faults = ", ".join(f"{file} is {fault}" for file, fault in one.faults.items())
    print(shown(f"{'would give' if dry_run else 'gave'} up shipment {one.shipment.id}: {faults}"))
    batches = ", ".join(f"{rows} in batch {batch}" for batch, rows in one.batches.items())
    files = ", ".join(one.files)
    print(shown(f"  at least {one.rows} rows of {files} have landed ({batches}); which ones is not known"))
    for path in one.kept:
        print(shown(f"  what is left is in {path}"))


def _print(outcome: "Released", *, dry_run: bool) -> None:
    for path in outcome.released:
        print(shown(f"{'would release' if dry_run else 'released'} {path}"))
    if outcome.trouble:
        print(shown(f"{outcome.instance}: {outcome.kept} files stay claimed: {outcome.trouble}"))
