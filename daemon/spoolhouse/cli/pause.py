"""`spoolhouse pause` and `spoolhouse resume`: stop all daemons of a spool from claiming, for a while."""

import argparse
import sys
from datetime import UTC, datetime

from spoolhouse.cli import flags
from spoolhouse.monitoring.logs import shown

_PAUSE = """\
Within a second or two no instance of the spool claims files; claimed files are
finished, and new ones wait where they are. The pause survives restarts and ends
with spoolhouse resume; the daemons log both. With --once, ingest leaves pending
files, and exits 1.

examples:
  spoolhouse pause --file-storage-path /var/spool --reason "disk swap"
  spoolhouse resume --file-storage-path /var/spool

exit codes:
   0  paused, now or before
  78  there is no such spool
"""
_RESUME = """\
Ends spoolhouse pause for all instances of the spool, within a second or two.

examples:
  spoolhouse resume --file-storage-path /var/spool

exit codes:
   0  resumed, or it was not paused
  78  there is no such spool
"""


_LONGEST_REASON = 500


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both commands."""
    pause = commands.add_parser(
        "pause",
        usage="spoolhouse pause [--reason TEXT] [options]",
        help="stop all instances of a spool from claiming files",
        description="Stop all instances of a spool from claiming files, until spoolhouse resume.",
        epilog=_PAUSE,
    )
    pause.add_argument("--reason", type=_reason, default="", metavar="TEXT", help="the reason, for the log")
    resume = commands.add_parser(
        "resume",
        usage="spoolhouse resume [options]",
        help="let them claim again",
        description="Let the instances of a spool claim files again.",
        epilog=_RESUME,
    )
    for parser, run in ((pause, run_pause), (resume, run_resume)):
        flags.add_spool(parser)
        flags.add_general(parser)
        parser.set_defaults(run=run)


def _reason(text: str) -> str:
    if len(text) > _LONGEST_REASON:
        raise argparse.ArgumentTypeError(f"{len(text)} characters; at most {_LONGEST_REASON} are kept")
    return text


def run_pause(options: argparse.Namespace) -> int:
    """Pause; return the exit code."""
    from spoolhouse.spool import pause_flag  # noqa: PLC0415  # --help needs none of it

    root = flags.spool(flags.settings(options))
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = pause_flag.pause(root, options.reason, when)
    state = "Paused." if before is None else f"It is paused already, {before}."
    print(shown(f"{state} Claimed files are finished; spoolhouse resume ends the pause."), file=sys.stderr)
    return 0


def run_resume(options: argparse.Namespace) -> int:
    """Resume; return the exit code."""
    from spoolhouse.spool import pause_flag  # noqa: PLC0415  # --help needs none of it

    was_paused = pause_flag.resume(flags.spool(flags.settings(options)))
    print("Resumed." if was_paused else "It was not paused.", file=sys.stderr)
    return 0
