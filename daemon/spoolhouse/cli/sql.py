"""`spoolhouse sql`: a SELECT of the user's own, which can only read."""

import argparse
from typing import TYPE_CHECKING

from spoolhouse.cli import asking

if TYPE_CHECKING:
    from spoolhouse.query import Query

_EXAMPLES = """\
  spoolhouse sql 'SELECT name, count(*) AS calls FROM mastra_admin_spans \\
      GROUP BY name'
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = asking.add(commands, "sql", "sql STATEMENT", "run a SELECT of your own", _EXAMPLES, notes=asking.TIMES)
    parser.add_argument("statement", metavar="STATEMENT", help="a SELECT, without FORMAT")
    parser.add_argument("--limit", type=int, default=1000, metavar="N", help="rows (default: 1000)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the rows; return the exit code."""
    return asking.run(options, lambda query: _sql(options, query))


async def _sql(options: argparse.Namespace, query: "Query") -> int:
    import msgspec  # noqa: PLC0415  # --help needs none of this

    from spoolhouse.cli import show  # noqa: PLC0415  # nor this

    names, rows = await query.sql(options.statement, limit=options.limit)
    if options.json:
        asking.print_lines(msgspec.json.encode(dict(zip(names, row, strict=True))) for row in rows)
    else:
        show.table([(str(name), "left") for name in names], rows)
    if len(rows) == options.limit:
        asking.say("there may be more; raise --limit")
    return 0
