"""Answers for people: tables, and the waterfall of a trace. Colours on a terminal only, and not under NO_COLOR."""

import os
import sys
import textwrap
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spoolhouse.monitoring.logs import shown
from spoolhouse.query.records import FiguresAnswer, Span, TraceView

Justify = Literal["left", "right"]

_WIDE = 240
"""Columns where no terminal says how many there are."""
_GAP = 2
_LEAST_WIDE = 12
"""The least width of a column of a SELECT: a row that would need narrower ones goes over several lines."""
_FOLDED, _FOLDED_WIDE = frozenset({"message", "comment", "labels"}), 20
"""Fields of long texts, which are folded; and the width that they need."""
_LEAST_IMPORTANT = (
    "kind", "unit", "source", "step_name", "span_id", "event_id", "model", "models", "cost_estimate_usd", "latency_ms",
    "tokens_input", "tokens_output", "cost_usd", "end_time",
)  # fmt: skip
"""Fields that a narrow terminal does without, the least important one first."""
_LONGEST = 200
_EMPTY: tuple[object, ...] = (None, "", {}, [])
_COLOURS = {
    "error": "red", "fatal": "red", "timeout": "red", "assertion_failed": "red", "warn": "yellow", "warning": "yellow",
    "ok": "green", "success": "green", "debug": "dim",
}  # fmt: skip
_COLUMNS: Mapping[str, Sequence[tuple[str, str, Justify]]] = {
    "traces": (
        ("time", "start_time", "left"), ("duration", "duration_ms", "right"), ("status", "status", "left"),
        ("name", "name", "left"), ("trace", "trace_id", "left"),
    ),
    "spans": (
        ("time", "start_time", "left"), ("duration", "duration_ms", "right"), ("status", "status", "left"),
        ("kind", "kind", "left"), ("name", "name", "left"), ("span", "span_id", "left"),
        ("trace", "trace_id", "left"),
    ),
    "logs": (("time", "timestamp", "left"), ("level", "level", "left"), ("message", "message", "left")),
    "metrics": (
        ("time", "timestamp", "left"), ("name", "name", "left"), ("value", "value", "right"), ("unit", "unit", "left"),
        ("labels", "labels", "left"),
    ),
    "scores": (
        ("time", "timestamp", "left"), ("name", "name", "left"), ("value", "value", "right"),
        ("trace", "trace_id", "left"), ("comment", "comment", "left"),
    ),
    "feedback": (
        ("time", "timestamp", "left"), ("type", "feedback_type", "left"), ("value", "value", "right"),
        ("source", "source", "left"), ("trace", "trace_id", "left"), ("comment", "comment", "left"),
    ),
    "events": (
        ("time", "timestamp", "left"), ("type", "event_type", "left"), ("status", "status", "left"),
        ("latency", "latency_ms", "right"), ("model", "model", "left"), ("step", "step_name", "left"),
        ("cost $", "cost_estimate_usd", "right"), ("run", "run_id", "left"), ("event", "event_id", "left"),
    ),
    "runs": (
        ("start", "start_time", "left"), ("end", "end_time", "left"), ("events", "events", "right"),
        ("errors", "errors", "right"), ("tokens in", "tokens_input", "right"), ("out", "tokens_output", "right"),
        ("cost $", "cost_usd", "right"), ("models", "models", "left"), ("run", "run_id", "left"),
    ),
}  # fmt: skip
"""By list: the head, the field, and its side."""


class _Console(Console):
    """Raises the error of a closed pipe, which the command handles; rich's own ends the process."""

    def on_broken_pipe(self) -> None:
        """Raise the error that is being handled."""
        raise  # noqa: PLE0704  # called while a BrokenPipeError is handled


def console() -> Console:
    """Return what is printed to; under NO_COLOR it has no escape sequences at all, not even bold ones."""
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    made = _Console(highlight=False, color_system=colours)
    return made if made.is_terminal else _Console(highlight=False, color_system=None, width=_WIDE)


class _Column(msgspec.Struct):
    """A column of a list."""

    head: str
    field: str
    side: Justify
    cells: list[Text]

    @property
    def width(self) -> int:
        """How many characters wide it has to be."""
        widest = max(cell_len(self.head), *(cell.cell_len for cell in self.cells))
        return min(widest, _FOLDED_WIDE) if self.field in _FOLDED else widest

    def without_date(self) -> "_Column":
        """Return the column with the date in its head, if it has times of one day alone."""
        days = {cell.plain[:10] for cell in self.cells}
        if len(days) > 1 or not self.field.endswith(("time", "timestamp")) or days == {"-"}:
            return self
        return _Column(head=days.pop(), field=self.field, side=self.side, cells=[cell[11:] for cell in self.cells])


def records(name: str, found: Sequence[Any]) -> None:
    """Print the records of a list; of several projects, with their project. An empty column is left out.

    On a terminal that is too narrow for the rest, the date is shown once, then the least important columns are left
    out, and are named on standard error.
    """
    if not found:
        return
    width = console().width
    time, *others = _COLUMNS[name]
    if len({record.project_id for record in found}) > 1:
        others.insert(0, ("project", "project_id", "left"))
    columns = [
        _Column(head=head, field=field, side=side, cells=[_cell(field, getattr(record, field)) for record in found])
        for head, field, side in (time, *others)
        if any(getattr(record, field) not in _EMPTY for record in found)
    ]
    if not _fit(columns, width):
        columns = [column.without_date() for column in columns]
    left_out = []
    for field in _LEAST_IMPORTANT:
        if _fit(columns, width):
            break
        left_out += [column.head for column in columns if column.field == field]
        columns = [column for column in columns if column.field != field]
    rows = zip(*(column.cells for column in columns), strict=True)
    _print([(column.head, column.side) for column in columns], rows)
    if left_out:
        text = f"a wider terminal, and --json, have more: {', '.join(left_out)}"
        print(textwrap.fill(text, max(width, _FOLDED_WIDE)), file=sys.stderr)


def _fit(columns: Sequence[_Column], width: int) -> bool:
    return sum(column.width + _GAP for column in columns) <= width


def table(heads: Sequence[tuple[str, Justify]], rows: Iterable[Sequence[object]]) -> None:
    """Print any rows; a row of more columns than the terminal has room for goes over several lines."""
    cells = [[_cell("", value) for value in row] for row in rows]
    widest = (
        [max(cell_len(shown(head)), *(row[place].cell_len for row in cells)) for place, (head, _) in enumerate(heads)]
        if cells
        else []
    )
    out = console()
    if sum(min(one, _LEAST_WIDE) + _GAP for one in widest) <= out.width:
        _print(heads, cells)
        return
    for row in cells:
        made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=False)
        made.add_column(no_wrap=True, style="bold")
        made.add_column(overflow="fold")
        for (head, _), cell in zip(heads, row, strict=True):
            made.add_row(Text(shown(head)), cell)
        out.print(made, end="\n\n" if row is not cells[-1] else "\n")


def figures(answer: FiguresAnswer, *, in_ms: Collection[str]) -> None:
    """Print figures, a row for each group and interval; those whose names are `in_ms` with this unit."""
    if not answer.rows:
        return
    first = answer.rows[0]
    heads: list[tuple[str, Justify]] = [("time", "left")] if first.time is not None else []
    heads += [(name, "left") for name in first.by]
    heads += [(f"{name} (ms)" if name in in_ms else name, "right") for name in first.values]
    if first.change is not None:
        heads += [(f"{name} change", "right") for name in first.values]
    rows = []
    for one in answer.rows:
        row = [] if one.time is None else [_cell("", one.time)]
        row += [_cell("", value) for value in one.by.values()]
        row += [_cell("value", value) for value in one.values.values()]
        row += [Text("-" if value is None else f"{value:+.1f} %") for value in (one.change or {}).values()]
        rows.append(row)
    _print(heads, rows)


def trace(found: TraceView, *, logs: bool) -> None:
    """Print a trace: what it is, its waterfall, what was said of it."""
    out = console()
    if found.trace is not None:
        one = found.trace
        head = Text.assemble(
            (shown(one.name), "bold"), "  ", _cell("status", one.status), "  ", _cell("duration_ms", one.duration_ms),
            "  ", _cell("start_time", one.start_time),
        )  # fmt: skip
        out.print(head, overflow="ellipsis", no_wrap=True)
    else:
        out.print(Text("no trace event, but its spans:"))
    if found.spans:
        out.print(waterfall(found.spans, out.width))
    for name, some in (("scores", found.scores), ("feedback", found.feedback), ("logs", found.logs if logs else [])):
        if some:
            out.print(Text(f"\n{name}", "bold"))
            records(name, some)


def waterfall(spans: Sequence[Span], width: int) -> Table:
    """Return the spans as a tree, each with a bar where it was in time."""
    start = min(span.start_time for span in spans)
    end = max(span.end_time or span.start_time for span in spans)
    total = max((end - start).total_seconds(), 0.001)
    wide = max(min(width // 3, 60), 10)
    made = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 0))
    made.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    made.add_column(no_wrap=True, justify="right")
    made.add_column(no_wrap=True, width=wide)
    made.expand = True
    for depth, span in tree(spans):
        failed = span.status == "error"
        name = Text("  " * min(depth, 20), overflow="ellipsis")
        name.append("✗ " if failed else "", "red")
        name.append_text(_safe(span.name))
        first = int((span.start_time - start).total_seconds() / total * wide)
        last = int(((span.end_time or span.start_time) - start).total_seconds() / total * wide)
        first = min(first, wide - 1)
        bar = " " * first + "━" * max(min(last, wide) - first, 1)
        made.add_row(name, _cell("duration_ms", span.duration_ms), Text(bar, "red" if failed else "cyan"))
    return made


def tree(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """Return the spans, each below its parent, by start; one whose parent is missing, or in a cycle, is a root."""
    ids = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = {}
    for span in spans:
        parent = span.parent_span_id if span.parent_span_id in ids and span.parent_span_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    found: list[tuple[int, Span]] = []
    seen: set[str] = set()
    stack = [(0, span) for span in reversed(children.get(None, []))]
    left = list(spans)
    while stack or left:
        if not stack:
            span = left.pop(0)
            if span.span_id not in seen:
                stack.append((0, span))
            continue
        depth, span = stack.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        found.append((depth, span))
        stack += [(depth + 1, child) for child in reversed(children.get(span.span_id, []))]
    return found


def _print(heads: Sequence[tuple[str, Justify]], rows: Iterable[Sequence[Text]]) -> None:
    out = console()
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for place, (head, side) in enumerate(heads):
        is_last = place == len(heads) - 1
        made.add_column(
            Text(shown(head)), justify=side, no_wrap=not is_last, overflow="ellipsis" if not is_last else "fold"
        )
    for row in rows:
        made.add_row(*row)
    out.print(made)


def _cell(field: str, value: object) -> Text:
    """Return a value as it is shown."""
    if value is None or value == "":
        return Text("-", "dim")
    if isinstance(value, datetime):
        return Text(f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03}")
    if isinstance(value, bool):
        return Text(str(value).lower())
    if isinstance(value, int | float):
        return Text(
            duration(value)
            if field in {"duration_ms", "latency_ms"}
            else f"{value:,.6g}"
            if isinstance(value, float)
            else f"{value:,}"
        )
    if isinstance(value, dict | list):
        value = ", ".join(map(str, value)) if isinstance(value, list) else _pairs(value)
    text = str(value)
    return _safe(text, _COLOURS.get(text, "") if field in {"status", "level"} else "")


def number(value: float) -> str:
    """Return a number with six digits that count, and groups of three."""
    if isinstance(value, int) or 1e6 <= abs(value) < 1e15:  # noqa: PLR2004  # six digits, and what a double holds
        return f"{value:,.0f}"
    return f"{value:,.6g}"


def _pairs(value: Mapping[str, object]) -> str:
    return " ".join(
        f"{key}={one if isinstance(one, str) else msgspec.json.encode(one).decode()}" for key, one in value.items()
    )


def _safe(text: str, style: str = "") -> Text:
    """Return text that can neither control the terminal nor push other columns about."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    safe = shown(cut)
    if any(unicodedata.bidirectional(character) in {"R", "AL", "AN"} for character in safe):
        # Isolated, so that text from right to left stays within its column.
        safe = f"\u2068{safe}\u2069"
    return Text(safe, style)


def duration(ms: float) -> str:
    """Return a duration in the unit that people would take."""
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if abs(ms) >= size:
            return f"{ms / size:.1f} {unit}"
    return f"{ms:.0f} ms" if abs(ms) >= 1 or not ms else f"{ms * 1000:.0f} µs"
