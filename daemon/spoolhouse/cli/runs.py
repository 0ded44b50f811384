"""`spoolhouse runs`: the runs of agents; with an id, the events and steps of one."""

import argparse
from typing import TYPE_CHECKING

from spoolhouse.cli import asking
from spoolhouse.errors import BadRequestError

if TYPE_CHECKING:
    from spoolhouse.query import Query

_EXAMPLES = """\
  spoolhouse runs --project shop --since 7d
  spoolhouse runs run-1 --project shop
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = asking.add(
        commands, "runs", "runs [RUN] --project NAME", "list the runs of agents, or show one", _EXAMPLES
    )
    parser.add_argument("id", nargs="?", metavar="RUN", help="show this one: its events, in their order")
    asking.add_scope(parser)
    group = parser.add_argument_group("filters")
    for name in ("user", "model", "environment", "status"):
        asking.add_filter(group, name)
    asking.add_label(group)
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="1 to 1000 (default: 50)")
    parser.add_argument("--cursor", metavar="TEXT", help="of one RUN: go on where the page before has ended")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the runs; return the exit code."""
    return asking.run(options, lambda query: _runs(options, query))


async def _runs(options: argparse.Namespace, query: "Query") -> int:
    import msgspec  # noqa: PLC0415  # --help needs none of this

    from spoolhouse.cli import show  # noqa: PLC0415  # nor this

    asked = {**asking.scope(options), **asking.filters(options)}
    if options.id is not None:
        # A run is asked for by its id, whenever it was.
        asked |= {"since": options.since or "1970-01-01", "run": options.id, "cursor": options.cursor}
        page = await query.page("events", **asked, order="time", limit=options.limit)
        if options.json:
            asking.print_lines(page.lines)
        else:
            show.records("events", page.records)
        if page.cursor is not None:
            asking.say(f"there are more; go on with --cursor {page.cursor}")
        if not page.records:
            asking.say(f"no run {options.id} in this project")
            return 1
        return 0
    if options.cursor is not None:
        raise BadRequestError("--cursor goes on with the events of one RUN; of the runs, raise --limit")
    found = [one async for one in query.runs(**asked, limit=options.limit)]
    if options.json:
        asking.print_lines(map(msgspec.json.encode, found))
    else:
        show.records("runs", found)
        if not found:
            asking.say("no runs there")
    if len(found) == options.limit:
        asking.say("there may be more; raise --limit")
    return 0
