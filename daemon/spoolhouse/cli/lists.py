"""`spoolhouse traces`, `spans`, `logs`, `metrics`, `scores`, `feedback`, `events`: lists, page by page."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from spoolhouse.cli import asking
from spoolhouse.errors import BadRequestError, InUseError, TransientError

if TYPE_CHECKING:
    from spoolhouse.query import Query
    from spoolhouse.query.records import Delta

_EXAMPLES = {
    "traces": "  spoolhouse traces --project shop --status error --since 2h\n"
    "  spoolhouse traces --project shop --order=-duration_ms --limit 10\n",
    "spans": "  spoolhouse spans --project shop --kind client --min 500\n",
    "logs": "  spoolhouse logs --project shop --level error --words 'payment failed'\n",
    "metrics": "  spoolhouse metrics --project shop --name requests --label region=eu\n",
    "scores": "  spoolhouse scores --project shop --name accuracy --max 0.5\n",
    "feedback": "  spoolhouse feedback --project shop --type rating --json\n",
    "events": "  spoolhouse events --project shop --type prompt_call --model gpt-4o-mini\n",
}
_POLL = 1.0
"""Seconds between two looks at what has landed."""
_ONE = {"traces": "traces", "logs": "log records", "metrics": "measurements", "events": "the events of agents"}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the commands."""
    from spoolhouse.query.questions import Op  # noqa: PLC0415  # only these commands need it
    from spoolhouse.query.requests import LISTS, ListQuestion  # noqa: PLC0415  # nor this
    from spoolhouse.query.signals import SIGNALS  # noqa: PLC0415  # nor this

    for name, kind in LISTS.items():
        text, notes = f"list {_ONE.get(name, name)}", asking.TIMES + asking.WINDOW + asking.LINES
        parser = asking.add(commands, name, f"{name} --project NAME", text, _EXAMPLES[name], notes=notes)
        asking.add_scope(parser)
        group = parser.add_argument_group("filters")
        signal = SIGNALS[name]
        for field in kind.__struct_fields__:
            if field not in ListQuestion.__struct_fields__:
                column, op = signal.filters[field]
                asking.add_filter(group, field, several=op is Op.EQ, choices=signal.table.column(column).choices)
        asking.add_label(group)
        group = parser.add_argument_group("page")
        group.add_argument("--limit", type=int, default=50, metavar="N", help="records in all (default: 50)")
        group.add_argument("--page-size", type=int, metavar="N", help="records asked for at once, 1 to 1000")
        group.add_argument("--cursor", metavar="TEXT", help="go on where the page before has ended")
        orders = ", ".join(("time", *signal.orders))
        text = f"{orders}; --order=-NAME: the largest first (default: -time)"
        group.add_argument("--order", default="-time", metavar="NAME", help=text)
        if name == "logs":
            group.add_argument("--follow", action="store_true", help="go on with what lands, until Ctrl-C")
        parser.set_defaults(run=run, name=name, follow=False)


def run(options: argparse.Namespace) -> int:
    """Print the list; return the exit code."""
    return asking.run(options, lambda query: _list(options, query))


async def _list(options: argparse.Namespace, query: "Query") -> int:
    from spoolhouse.cli import show  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.query.requests import request  # noqa: PLC0415  # nor this

    asked = {**asking.scope(options), **asking.filters(options), "order": options.order}
    asked |= {"limit": options.limit, "page_size": options.page_size}
    if options.follow:
        if options.cursor is not None or options.until is not None or options.order != "-time":
            raise BadRequestError("--follow goes on with what lands: not with --cursor, --until or --order")
        return await _follow(options, query, asked)
    cursor, left = options.cursor, options.limit
    while True:
        page = await query.page(options.name, request(options.name, {**asked, "limit": left}), cursor=cursor)
        if options.json:
            asking.print_lines(page.lines)
        else:
            show.records(options.name, page.records)
        cursor, left = page.cursor, left - len(page.records)
        if cursor is None or not left:
            break
    if cursor is not None:
        asking.say(f"there are more; go on with --cursor {cursor}")
    elif left == options.limit and not options.json:
        await _why_none(options, query)
    return 0


async def _follow(options: argparse.Namespace, query: "Query", asked: dict[str, Any]) -> int:
    """Print the last page, oldest first, and then what lands."""
    from spoolhouse.cli import show  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.query.requests import request  # noqa: PLC0415  # nor this

    def print_all(records: list[Any], lines: list[bytes]) -> None:
        if options.json:
            asking.print_lines(lines)
        else:
            show.records(options.name, records)
        sys.stdout.flush()

    following = request(options.name, {**asked, "limit": 100, "page_size": None, "order": "time"})
    # First: what lands while the page is read must not be missed.
    delta = await _once_it_answers(partial(query.delta, options.name, following), InUseError)
    page = await query.page(options.name, request(options.name, asked))
    print_all(page.records[::-1], page.lines[::-1])
    shown = {record.id for record in page.records}
    while True:
        ask = partial(query.delta, options.name, following, after=delta.cursor)
        delta = await _once_it_answers(ask, TransientError)
        fresh = [place for place, record in enumerate(delta.records) if record.id not in shown]
        print_all([delta.records[place] for place in fresh], [delta.lines[place] for place in fresh])
        if not delta.has_more:
            await asyncio.sleep(_POLL)


async def _once_it_answers(ask: "Callable[[], Awaitable[Delta[Any]]]", kind: type[TransientError]) -> "Delta[Any]":
    """Return the answer, however often the question ends with an error of this kind."""
    is_told = False
    while True:
        try:
            return await ask()
        except kind as error:
            if not is_told:
                asking.say(f"{error}; waiting until it answers")
            is_told = True
            await asyncio.sleep(_POLL)


async def _why_none(options: argparse.Namespace, query: "Query") -> None:
    """Say that nothing was found; and where there are spans and no traces, that they have none."""
    scope = asking.scope(options)
    if options.name == "traces" and not asking.filters(options):
        spans = [one async for one in query.spans(**scope, limit=1, light=True)]
        if spans:
            asking.say(
                "no traces, but spans: their producer writes no trace events; see `spoolhouse spans`, and the setting"
                " events.traces_from_root_spans"
            )
            return
    asking.say(f"no {options.name} there")
