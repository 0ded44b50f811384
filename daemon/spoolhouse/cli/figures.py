"""`spoolhouse figures`: counts, sums, rates and percentiles, by group and by interval."""

import argparse
from typing import TYPE_CHECKING

from spoolhouse.cli import asking
from spoolhouse.errors import BadRequestError

if TYPE_CHECKING:
    from spoolhouse.query import Query

_EXAMPLES = """\
  spoolhouse figures span --project shop --of p95 --by name --since 24h
  spoolhouse figures trace --project shop --of count,error_rate --every 1h
  spoolhouse figures event --project shop --type prompt_call --since 7d \\
      --by model --of count,sum:cost_estimate_usd,avg:latency_ms
"""
_SINGLE = {"name"}
"""A filter that is a part of a text in some of the lists."""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    from spoolhouse.query.signals import SIGNALS  # noqa: PLC0415  # only this command needs it

    text = "count, sum, rate, percentiles: by group and by interval"
    parser = asking.add(commands, "figures", "figures SIGNAL --project NAME", text, _EXAMPLES)
    parser.add_argument(
        "signal", metavar="SIGNAL", help=", ".join(dict.fromkeys(signal.one for signal in SIGNALS.values()))
    )
    group = parser.add_argument_group("figures")
    group.add_argument(
        "--of",
        default="count",
        metavar="NAMES",
        help="count, errors, error_rate, error_percent, rate, sum, avg, min, max, last, count_distinct, p95, p99.9; "
        "avg:COLUMN of another column; with commas between",
    )
    group.add_argument("--by", metavar="NAMES", help="columns, or label.KEY, with commas between")
    text = "a histogram: group by which of these the value has reached, as 10,100,1000"
    group.add_argument("--edges", metavar="NUMBERS", help=text)
    group.add_argument("--every", metavar="INTERVAL", help="1m, 5m, 1h, 1d")
    group.add_argument("--measure", metavar="COLUMN", help="of which numbers")
    group.add_argument("--compare", metavar="PERIOD", help="previous_period, previous_day, previous_week")
    group.add_argument("--using", default="auto", metavar="NAME", help="auto, rows, rollup")
    group.add_argument("--order", default="", metavar="FIGURE", help="--order=-FIGURE: the largest first")
    group.add_argument("--limit", type=int, default=1000, metavar="N", help="1 to 1000 groups")
    asking.add_scope(parser)
    group = parser.add_argument_group("filters, as in the list of the signal")
    for name in dict.fromkeys(name for signal in SIGNALS.values() for name in signal.filters):
        asking.add_filter(group, name, several=name not in _SINGLE)
    asking.add_label(group)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the figures; return the exit code."""
    return asking.run(options, lambda query: _figures(options, query))


async def _figures(options: argparse.Namespace, query: "Query") -> int:
    import msgspec  # noqa: PLC0415  # --help needs none of this

    from spoolhouse.cli import show  # noqa: PLC0415  # nor this
    from spoolhouse.query import plan  # noqa: PLC0415  # nor this
    from spoolhouse.query.requests import Figures  # noqa: PLC0415  # nor this

    request = Figures(
        signal=options.signal,
        filters=asking.filters(options),
        of=_names(options.of),
        by=_names(options.by),
        edges=_edges(options.edges),
        every=options.every,
        measure=options.measure,
        compare=options.compare,
        using=options.using,
        order=options.order,
        limit=options.limit,
        **asking.scope(options),
    )
    answer = await query.figures(options.signal, request)
    if options.json:
        asking.print_lines(map(msgspec.json.encode, answer.rows))
    else:
        show.figures(answer, in_ms=plan.in_ms(request))
    more = "; there are more" if answer.truncated else "" if answer.rows else "; nothing there"
    asking.say(f"from {answer.source}{more}")
    return 0


def _edges(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise BadRequestError(f"--edges: numbers with commas between are accepted, not {text[:60]!r}") from None


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (name.strip() for name in (text or "").split(","))))
