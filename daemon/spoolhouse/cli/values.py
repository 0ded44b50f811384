"""`spoolhouse values`: the names, labels, services, models and so on that occur."""

import argparse
from typing import TYPE_CHECKING

from spoolhouse.cli import asking

if TYPE_CHECKING:
    from spoolhouse.query import Query

_EXAMPLES = """\
  spoolhouse values models --project shop --since 7d
  spoolhouse values label_values --key region --project shop
  spoolhouse values names --signal span --prefix checkout --project shop
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    from spoolhouse.query.signals import VALUES  # noqa: PLC0415  # only this command needs it

    text = "list the names, labels, services, models … that occur"
    parser = asking.add(commands, "values", "values WHAT --project NAME", text, _EXAMPLES)
    parser.add_argument("what", metavar="WHAT", help=", ".join(VALUES))
    group = parser.add_argument_group("values")
    group.add_argument(
        "--signal", metavar="NAME", help="of traces, spans, logs, metrics, … (default of names and labels: metrics)"
    )
    group.add_argument("--key", metavar="LABEL", help="the label, for label_values")
    group.add_argument("--prefix", default="", metavar="TEXT", help="those that begin so")
    group.add_argument("--limit", type=int, default=100, metavar="N", help="1 to 1000 (default: 100)")
    asking.add_scope(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the values; return the exit code."""
    return asking.run(options, lambda query: _values(options, query))


async def _values(options: argparse.Namespace, query: "Query") -> int:
    import msgspec  # noqa: PLC0415  # --help needs none of it

    from spoolhouse.monitoring.logs import shown  # noqa: PLC0415  # nor this
    from spoolhouse.query.conditions import signal_of  # noqa: PLC0415  # nor this
    from spoolhouse.query.signals import VALUES  # noqa: PLC0415  # nor this

    scope = asking.scope(options)
    found = await query.values(
        options.what, **scope, signal=options.signal, key=options.key, prefix=options.prefix, limit=options.limit
    )
    if options.json:
        asking.print_lines(msgspec.json.encode({"value": one}) for one in found)
    else:
        print("".join(f"{shown(one)}\n" for one in found), end="")
    if not found and not options.json:
        signal = VALUES[options.what].signal if options.signal is None else signal_of(options.signal)
        asking.say(
            f"no {options.what.replace('_', ' ')} of {signal.name} there; --signal asks for those of another list"
        )
    if len(found) == options.limit:
        asking.say("there may be more; raise --limit")
    return 0
