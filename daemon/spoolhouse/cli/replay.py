"""`spoolhouse replay`: rejected lines after a mend, and settled files of which ClickHouse has lost rows."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.decode.reject import Reason
from spoolhouse.errors import SpoolError, describe
from spoolhouse.monitoring.logs import printable, shown

if TYPE_CHECKING:
    from spoolhouse.recover.processed_files import ProcessedFiles
    from spoolhouse.recover.rejected_lines import Rejects, Selection
    from spoolhouse.settings import Settings

_EPILOG = """\
Nothing is doubled, however often it is run. Of a settled file only that is
brought back of which ClickHouse has nothing, by table, rollup and month; the
ledger says what came from where. Rejected lines are dropped into the spool
once more and taken out of rejected/, for the daemon to ingest; a row that
ClickHouse had refused is inserted here and now.

examples:
  spoolhouse replay /var/spool/events/span/shop/processed/*.jsonl --dry-run
  spoolhouse replay --rejected --reason unknown_type --file span/shop/a.jsonl
  spoolhouse replay --rejected

exit codes:
   0  done; nothing is left of what was asked for
   1  something is left: it says what, and why
  69  ClickHouse is unavailable
  78  a wrong setting, or no such spool
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay",
        usage="spoolhouse replay (FILE … | --rejected) [--dry-run] [options]",
        help="send rejected lines, or what ClickHouse has lost of settled files, once more",
        description="Send rejected lines, or what ClickHouse has lost of settled files, once more.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
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
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Replay; return the exit code."""
    if bool(options.files) == options.rejected:
        options.parser.error("name files, or --rejected")
    if (options.reason or options.file) and not options.rejected:
        options.parser.error("--reason and --file choose among rejected lines: --rejected")
    settings = flags.settings(options)
    if options.rejected:
        return asyncio.run(_replay_rejected(settings, options.reason or (), options.file or (), options.dry_run))
    return asyncio.run(_replay_files(settings, options.files, options.dry_run))


async def _replay_files(settings: "Settings", paths: Sequence[Path], dry_run: bool) -> int:  # noqa: FBT001  # a flag as it came
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.recover.processed_files import archive  # noqa: PLC0415  # nor this
    from spoolhouse.recover.rejected_lines import lock  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.service.prepare import open_driver  # noqa: PLC0415  # nor this

    code = 0
    held = await asyncio.to_thread(lock, await asyncio.to_thread(flags.spool, settings))
    driver = open_driver(settings)
    try:
        files = archive(settings, driver, load(settings.events.folder))
        for path in paths:
            try:
                await _replay_file(files, path, dry_run)
            except SpoolError as error:
                print(shown(f"left alone: {error}"))
                code = 1
    finally:
        await driver.close()
        os.close(held)
    return code


async def _replay_file(files: "ProcessedFiles", path: Path, dry_run: bool) -> None:  # noqa: FBT001  # a flag as it came
    outcome = None
    async for outcome in files.replay(path, dry_run=dry_run):
        where = ", ".join(f"{one.table} {one.partition}" for one in (outcome.lacking if dry_run else outcome.repaired))
        done = "all there" if not where else "not found in" if dry_run else "brought back to"
        print(shown(f"{path}: {outcome.rows} rows of {outcome.table}: {done} {where}".rstrip()))
    if outcome is None:
        print(shown(f"{path}: nothing to replay: no row of it has landed"))


async def _replay_rejected(
    settings: "Settings",
    reasons: Sequence[str],
    places: Sequence[str],
    dry_run: bool,  # noqa: FBT001  # a flag as it came
) -> int:
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.recover.processed_files import archive  # noqa: PLC0415  # nor this
    from spoolhouse.recover.rejected_lines import Selection, all_rejects, finish_earlier, lock  # noqa: PLC0415  # nor this
    from spoolhouse.service.prepare import open_driver  # noqa: PLC0415  # nor this
    from spoolhouse.store.clickhouse.landing.ledger_read import settled  # noqa: PLC0415  # --help needs none of this

    root = await asyncio.to_thread(flags.spool, settings)
    held = await asyncio.to_thread(lock, root)
    driver = open_driver(settings)
    code = count = asked = 0
    try:
        if not dry_run and (count := await asyncio.to_thread(finish_earlier, root)):
            print(f"{count} files that an earlier run had gathered are dropped")
        selection = Selection(reasons=frozenset(reasons), places=frozenset(places))
        files = archive(settings, driver, load(settings.events.folder))
        rejects = await asyncio.to_thread(all_rejects, root)
        complete = await settled(driver, {printable(one.shipment) for one in rejects}, prefix=files.prefix)
        for one in rejects:
            try:
                if not (chosen := await asyncio.to_thread(one.selected, selection)):
                    continue
                asked += chosen
                if one.shipment not in complete or await asyncio.to_thread(one.is_under_way):
                    print(shown(f"{one.path}: left alone: its shipment is still under way"))
                    code = 1
                elif dry_run:
                    print(shown(f"{one.path}: {chosen} lines would go"))
                elif not await _replay_one(files, one, selection):
                    code = 1
            except (SpoolError, OSError) as error:
                print(shown(f"left alone: {describe(error)}"))
                code = 1
        if not (asked or count or code):
            print(f"Nothing to replay: there are no {'such ' if reasons or places else ''}lines in rejected/.")
    finally:
        await driver.close()
        os.close(held)
    return code


async def _replay_one(files: "ProcessedFiles", rejects: "Rejects", selection: "Selection") -> bool:
    """Replay one file of rejects; return whether nothing is left of what was asked for."""
    from spoolhouse.recover.refused_rows import bring_back_refused  # noqa: PLC0415  # --help needs none of this

    done, refusals = await bring_back_refused(files, rejects, selection)
    await asyncio.to_thread(rejects.drop_again, selection, done)
    for reason, count in sorted(rejects.dropped.items()):
        print(shown(f"{rejects.path}: {count} lines, {reason}"))
    for message, count in rejects.lost.items():
        print(shown(f"{rejects.path}: {count} lines stay: {message}"))
    for message, count in refusals.items():
        print(shown(f"{rejects.path}: {count} rows are refused as before: {message}"))
    return not refusals and not rejects.lost
