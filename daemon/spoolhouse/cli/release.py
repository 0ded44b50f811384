"""`spoolhouse release`: return files that dead instances claimed and never sent to where they were dropped."""

import argparse
import sys
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.errors import SpoolError
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from spoolhouse.spool.release import Released

_EPILOG = """\
For moving a spool to another host, or to other software. A daemon that starts
on the same spool does this by itself, and finishes sent files too. Files that
may have been sent are not released, but counted, with exit code 1. Files of a
running daemon are not touched.

examples:
  spoolhouse release --file-storage-path /var/spool/events --dry-run
  spoolhouse release --file-storage-path /var/spool/events

exit codes:
   0  no file is claimed any more
   1  some files stay claimed: they may have been sent, or their daemon runs
  78  there is no such spool
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "release",
        usage="spoolhouse release [--dry-run] [INSTANCE …] [options]",
        help="put back files that dead daemons claimed and never sent",
        description="Put back files that dead daemons of a spool claimed and never sent.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("instances", nargs="*", metavar="INSTANCE", help="folders in .spoolhouse/ (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="list the files, and change nothing")
    flags.add_spool(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Release; return the exit code."""
    from spoolhouse.spool import instance_dirs  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.spool.release import release  # noqa: PLC0415  # nor this

    root = flags.spool(flags.settings(options))
    known = instance_dirs.names(root)
    if unknown := sorted(set(options.instances) - set(known)):
        raise SpoolError(f"{root}: there is no instance {unknown[0]}; there are: {', '.join(known) or 'none'}")
    kept = 0
    for instance in options.instances or known:
        outcome = release(root, instance, dry_run=options.dry_run)
        _print(outcome, dry_run=options.dry_run)
        kept += outcome.kept or bool(outcome.trouble)
    if not known:
        print("No instance has left anything.", file=sys.stderr)
    return 1 if kept else 0


def _print(outcome: "Released", *, dry_run: bool) -> None:
    for path in outcome.released:
        print(shown(f"{'would release' if dry_run else 'released'} {path}"))
    if outcome.trouble:
        print(shown(f"{outcome.instance}: {outcome.kept} files stay claimed: {outcome.trouble}"))
