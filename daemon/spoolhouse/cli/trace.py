"""`spoolhouse trace`: one trace with its spans as a waterfall, its logs, scores and feedback."""

import argparse
from typing import TYPE_CHECKING

from spoolhouse.cli import asking

if TYPE_CHECKING:
    from spoolhouse.query import Query

_EXAMPLES = """\
  spoolhouse trace 4bf92f3577b34da6a3ce929d0e0e4736 --project shop --logs
  spoolhouse trace 4bf92f3577b34da6a3ce929d0e0e4736 --project shop --json
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    text = "show one trace: its spans as a waterfall, logs, scores and feedback"
    notes = asking.TIMES + asking.LINES
    parser = asking.add(commands, "trace", "trace ID --project NAME", text, _EXAMPLES, notes=notes)
    parser.add_argument("id", metavar="ID", help="the trace's id")
    parser.add_argument("--logs", action="store_true", help="show its logs, too")
    group = parser.add_argument_group("scope")
    group.add_argument("--project", metavar="NAME", help="the project, required")
    group.add_argument("--all-projects", action="store_true", help="all of them, for operators")
    parser.set_defaults(run=run, since=None, until=None)


def run(options: argparse.Namespace) -> int:
    """Print the trace; return the exit code."""
    return asking.run(options, lambda query: _trace(options, query))


async def _trace(options: argparse.Namespace, query: "Query") -> int:
    from spoolhouse.cli import show  # noqa: PLC0415  # --help needs none of it

    found = await query.trace(asking.scope(options)["project"], options.id)
    if found is None:
        asking.say(f"no trace {options.id} in this project")
        return 1
    if options.json:
        asking.print_lines(found.lines)
    else:
        show.trace(found, logs=options.logs)
    if found.truncated:
        asking.say("the trace has more spans or logs than are shown")
    return 0
