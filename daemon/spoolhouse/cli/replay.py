"""`spoolhouse replay`: resubmits rejected lines, and restores rows of processed files that the store has lost."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.cli.words import counted
from spoolhouse.decode.reject import Reason
from spoolhouse.errors import SpoolError, describe
from spoolhouse.monitoring.logs import printable, shown

if TYPE_CHECKING:
    from spoolhouse.recover.processed_files import ProcessedFiles
    from spoolhouse.recover.rejected_lines import RejectsFile, Selection
    from spoolhouse.settings import Settings

_EPILOG = """\
No line lands twice, however often the command is run. The ledger says which
rows came from a file; a table, rollup and month that has nothing of a batch
gets the rows of that batch again, without those that `spoolhouse delete` has
deleted. Rejected lines are removed from rejected/ and dropped into the spool
again, for the daemon to ingest.

examples:
  spoolhouse replay /var/spool/observability/span/shop/processed/*.jsonl \\
      --dry-run
  spoolhouse replay --rejected --reason unknown_type --file span/shop/a.jsonl
  spoolhouse replay --rejected

exit codes:
   0  all that was asked for is done
   1  some of it is not done; the output says what, and why
  69  the store is unavailable
  78  a wrong setting, or no such spool
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay",
        usage="spoolhouse replay (FILE … | --rejected) [--dry-run] [options]",
        help="resubmit rejected lines, or restore rows that the store has lost",
        description="Resubmit rejected lines, or restore rows that the store has lost.",
        epilog=_EPILOG,
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="files in processed/ or failed/")
    parser.add_argument("--rejected", action="store_true", help="the lines in rejected/")
    parser.add_argument(
        "--reason",
        action="append",
        choices=[reason.value for reason in Reason],
        metavar="REASON",
        help="with --rejected: only lines with this reason; may be repeated",
    )
    parser.add_argument(
        "--file",
        action="append",
        metavar="PLACE",
        help="with --rejected: only lines of this file, {type}/{project}/{name}; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and change nothing")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Replay files, or rejected lines; return the exit code."""
    if bool(options.files) == options.rejected:
        options.parser.error("name files, or --rejected")
    if (options.reason or options.file) and not options.rejected:
        options.parser.error("--reason and --file need --rejected: they choose among rejected lines")
    settings = flags.settings(options)
    if options.rejected:
        return asyncio.run(_replay_rejected(settings, options.reason or (), options.file or (), options.dry_run))
    return asyncio.run(_replay_files(settings, options.files, options.dry_run))


async def _replay_files(settings: "Settings", paths: Sequence[Path], dry_run: bool) -> int:  # noqa: FBT001  # a flag as it came
    from spoolhouse.cli.recovery import open_files  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.recover.rejected_lines import lock_replays  # noqa: PLC0415  # nor this

    code = 0
    locked = await asyncio.to_thread(lock_replays, await asyncio.to_thread(flags.spool, settings))
    try:
        async with open_files(settings) as files:
            for path in paths:
                try:
                    await _replay_file(files, path, dry_run)
                except SpoolError as error:
                    print(shown(f"left alone: {error}"))
                    code = 1
    finally:
        os.close(locked)
    return code


async def _replay_file(files: "ProcessedFiles", path: Path, dry_run: bool) -> None:  # noqa: FBT001  # a flag as it came
    result = None
    async for result in files.replay(path, dry_run=dry_run):
        where = ", ".join(f"{one.table} {one.partition}" for one in (result.missing if dry_run else result.repaired))
        done = "all there" if not where else "not found in" if dry_run else "brought back to"
        left_out = f"; {result.deleted} rows stay deleted" if result.deleted else ""
        print(shown(f"{path}: {result.rows} rows of {result.table}: {f'{done} {where}'.rstrip()}{left_out}"))
    if result is None:
        print(shown(f"{path}: nothing to replay: no row of it has landed"))


async def _replay_rejected(
    settings: "Settings",
    reasons: Sequence[str],
    places: Sequence[str],
    dry_run: bool,  # noqa: FBT001  # a flag as it came
) -> int:
    from spoolhouse.cli.recovery import open_files  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.recover.rejected_lines import Selection, all_rejects, finish_earlier, lock_replays  # noqa: PLC0415  # nor this

    root = await asyncio.to_thread(flags.spool, settings)
    locked = await asyncio.to_thread(lock_replays, root)
    all_done, count, asked = True, 0, 0
    try:
        if not dry_run and (count := await asyncio.to_thread(finish_earlier, root)):
            print(f"{count} files that an earlier run had gathered are dropped")
        selection = Selection(reasons=frozenset(reasons), places=frozenset(places))
        rejects = await asyncio.to_thread(all_rejects, root)
        async with open_files(settings) as files:
            await files.sync_ledger()
            complete = await files.store.complete_shipments({printable(one.shipment) for one in rejects})
            for one in rejects:
                try:
                    if chosen := await asyncio.to_thread(one.selected, selection):
                        asked += chosen
                        is_complete = one.shipment in complete and not await asyncio.to_thread(one.is_under_way)
                        all_done &= await _replay_one(one, selection, dry_run, chosen if is_complete else 0)
                except (SpoolError, OSError) as error:
                    print(shown(f"left alone: {describe(error)}"))
                    all_done = False
        if not (asked or count) and all_done:
            print(f"Nothing to replay: there are no {'such ' if reasons or places else ''}lines in rejected/.")
    finally:
        os.close(locked)
    return 0 if all_done else 1


async def _replay_one(
    rejects: "RejectsFile",
    selection: "Selection",
    dry_run: bool,  # noqa: FBT001  # a flag as it came
    lines: int,
) -> bool:
    """Replay the selected `lines` of a rejects file, 0 while its shipment is under way; return whether all are done."""
    if not lines:
        print(shown(f"{rejects.path}: left alone: its shipment is still under way"))
        return False
    if dry_run:
        print(shown(f"{rejects.path}: {counted(lines, 'line')} would go"))
        return True
    await asyncio.to_thread(rejects.drop_again, selection)
    for reason, count in sorted(rejects.dropped.items()):
        print(shown(f"{rejects.path}: {counted(count, 'line')}, {reason}"))
    for message, count in rejects.lost.items():
        print(shown(f"{rejects.path}: {counted(count, 'line')} left alone: {message}"))
    return not rejects.lost
