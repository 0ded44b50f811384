"""A report as a table; with --watch the same, live, with rates and the last files and rejected lines."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spoolhouse.cli.status import FINE, Report
from spoolhouse.cli.words import counted
from spoolhouse.monitoring.logs import shown
from spoolhouse.monitoring.status_model import (
    REJECTED_HINT,
    RETRY_HINT,
    Backlog,
    FileCount,
    RatePoint,
    Status,
    Trouble,
    TypeStatus,
)

Recent = tuple[int, int]
"""How many of the last files, and of the last rejected lines, are shown."""
_RECENT: tuple[Recent, ...] = ((6, 6), (3, 3), (1, 1), (1, 0), (0, 0))
_NOT_TAKEN_SHOWN = 3
_NAMES_SHOWN = 6
_BARS = "▁▂▃▄▅▆▇█"
_BARS_SHOWN = 60
_WIDE = 160
"""Columns where no terminal says how many there are."""
_COLOURS = {
    "running": "green",
    "stopping": "yellow",
    "starting": "yellow",
    "waiting": "yellow",
    "paused": "yellow",
    "elsewhere": "green",
    "adopted": "green",
    "ended": "yellow",
}


def show(report: Report) -> None:
    """Print a report once."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    console.print(picture(report, width=console.width))


def watch(survey: Callable[[], Report], interval: float) -> int:
    """Show the report of `survey` every `interval` seconds, until Ctrl-C; return the exit code."""
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        report = survey()
        try:
            while True:
                live.update(_filling(console, report), refresh=True)
                time.sleep(interval)
                report = survey()
        except KeyboardInterrupt:
            return 0 if report.fine else 1


def _filling(console: Console, report: Report) -> RenderableType:
    """Return the most that a terminal has room for: less of the past first, then fewer types."""
    types = max((len(status.types) for status in report.instances), default=0)
    sizes: list[tuple[Recent, int]] = [(recent, types) for recent in _RECENT]
    sizes += [(_RECENT[-1], count) for count in range(types - 1, 0, -1)]
    for recent, count in sizes:
        made = picture(report, recent=recent, width=console.width, types=count)
        if len(console.render_lines(made)) <= console.height:
            return made
    return picture(report, recent=_RECENT[-1], width=console.width, types=0)


def picture(
    report: Report, *, recent: Recent | None = None, width: int = _WIDE, types: int | None = None
) -> RenderableType:
    """Return a report as something to print in `width` columns.

    `recent` adds the rates of its last seconds; at most `types` event types are shown.
    """
    parts: list[RenderableType] = [] if report.spool is None else [_line(report.spool, style="bold")]
    parts.extend(_folder(report))
    if report.is_deserted:
        parts.append(_line("No daemon works on it: start `spoolhouse ingest`.", style="yellow"))
    for status in report.instances:
        parts.append(Text())
        parts.extend(_instance(status, recent, width, types))
    if recent is not None:
        when = datetime.fromtimestamp(report.at, UTC).strftime("%H:%M:%S UTC")
        parts += [Text(), _line(f"{when}, Ctrl-C ends it", style="dim")]
    return Group(*parts)


def _folder(report: Report) -> Iterable[RenderableType]:
    if report.pending is not None:
        table = _grid()
        oldest = f", the oldest {_span(report.oldest_seconds)} ago" if report.pending.files else ""
        table.add_row("pending", f"{_pile(report.pending)}{oldest}")
        if report.ends is not None:
            ends = report.ends
            lines = "" if ends.rejected_lines is None else f"{ends.rejected_lines:,} lines in "
            table.add_row("rejected", f"{lines}{_pile(ends.rejected)}" if ends.rejected.files else "none")
            table.add_row("failed", _pile(ends.failed) if ends.failed.files else "none")
        yield Padding(table, (0, 0, 0, 2), expand=False)
    if report.ends is not None and report.ends.rejected.files:
        yield _line(f"  {REJECTED_HINT}", style="yellow")
    if report.ends is not None and report.ends.failed.files:
        yield _line(f"  {RETRY_HINT}", style="yellow")
    if report.paused is not None:
        yield _line(f"  paused {report.paused}: nothing new is claimed; spoolhouse resume ends it", style="yellow")
    for text in report.not_taken[:_NOT_TAKEN_SHOWN]:
        yield _line(f"  not taken: {text}", style="yellow")
    if len(report.not_taken) > _NOT_TAKEN_SHOWN:
        yield _line(f"  not taken: {len(report.not_taken) - _NOT_TAKEN_SHOWN:,} more", style="yellow")


def _instance(status: Status, recent: Recent | None, width: int, types: int | None) -> Iterable[RenderableType]:
    heading = _line(status.instance or status.url or "a daemon", style="bold")
    heading.append("  ")
    heading.append(status.state, style=_COLOURS.get(status.state, "red"))
    yield heading
    if status.why:
        style = "" if status.state in FINE else "yellow"
        yield Padding(_line(status.why, style=style), (0, 0, 0, 2), expand=False)
    table = _grid()
    _add_status(table, status)
    if status.backlog is None:
        if status.claimed is not None:
            table.add_row("claimed", _pile(status.claimed))
        if status.quiet_seconds is not None:
            table.add_row("last sign", f"{_span(status.quiet_seconds)} ago, in its journal")
    if status.url and status.state not in {"adopted", "gone", "ended"}:
        table.add_row("at", _line(status.url))
    yield Padding(table, (0, 0, 0, 2), expand=False)
    if recent is not None:
        yield from _moving(status, recent, width)
    if status.types and types != 0:
        yield Padding(_types(status, types), (0 if recent is None else 1, 0, 0, 2), expand=False)
        if (types is None or types >= len(status.types)) and (notes := list(_notes(status))):
            table = _grid()
            for row in notes:
                table.add_row(*row)
            yield Padding(table, (0, 0, 0, 2), expand=False)


def _add_status(table: Table, status: Status) -> None:
    """Add a row for each thing that is known."""
    if status.version is not None and status.started_ms is not None:
        up = _span((status.at_ms - status.started_ms) / 1000)
        table.add_row("version", _line(f"{status.version}, up {up}, process {status.pid}"))
    if (rates := status.rates) is not None:
        table.add_row(
            "rate",
            f"{rates.rows:,.0f} rows/s, {decimal(round(rates.bytes))}/s, {rates.files:,.1f} files/s"
            f" over {rates.window:.0f} s",
        )
    if status.backlog is not None:
        _add_backlog(table, status, status.backlog)
    if status.loop_lag is not None:
        table.add_row("loop lag", f"{status.loop_lag * 1000:,.0f} ms at the longest")


def _add_backlog(table: Table, status: Status, backlog: Backlog) -> None:
    oldest = f", the oldest {_span(backlog.oldest_seconds)} ago" if backlog.pending_files else ""
    size = decimal(backlog.pending_bytes)
    table.add_row("backlog", f"{counted(backlog.pending_files, 'file')} pending ({size}){oldest}")
    if backlog.unwatched:
        table.add_row("watching", _line(backlog.unwatched, style="yellow"))
    table.add_row("on the way", f"{counted(backlog.claimed_files, 'file')} in {counted(backlog.shipments, 'shipment')}")
    done = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(status.files.items(), reverse=True) if count)
    table.add_row("files", _line(f"{done or 'none'} ({decimal(status.bytes)})"))
    for name, counts in (("rejects", status.rejects), ("retries", status.retries)):
        if any(counts.values()):
            table.add_row(name, _line(", ".join(f"{key} {count:,}" for key, count in sorted(counts.items()) if count)))
    if status.servers:
        answers = (f"{name} {'answers' if here else 'is away'}" for name, here in status.servers.items())
        table.add_row("servers", _line(", ".join(answers)))
    if backlog.unmovable_files:
        why = f" ({backlog.unmovable_reason})" if backlog.unmovable_reason else ""
        table.add_row("unmovable", f"{counted(backlog.unmovable_files, 'file')}{why}: see file_not_moved in the log")
    if backlog.held_instances:
        table.add_row("held instances", f"{backlog.held_instances}: see journal_held in the log")
    if backlog.ledger_entries:
        table.add_row("ledger", f"{backlog.ledger_entries:,} entries to be written")


def _types(status: Status, most: int | None) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("type")
    for name in ("landed", "rejected", "files"):
        table.add_column(name, justify="right")
    table.add_column("")
    # A reason that all types share is shown once, above.
    known = [] if status.readiness is None else status.readiness.reasons
    reasons = [reason for reason in known if len(reason.types) < len(status.types)]
    left_out = 0
    # Those that wait come first where not all are shown, then those with the most lines.
    kinds = sorted(status.types, key=lambda kind: (not _waits(kind, reasons), -kind.landed - kind.rejected))
    for kind in status.types if most is None or most >= len(kinds) else kinds:
        own = [reason for reason in reasons if kind.type in reason.types]
        if kind.landed or kind.rejected or kind.files or own:
            if most is not None and table.row_count >= most:
                left_out += 1
                continue
            waits = Text("held" if any(reason.held for reason in own) else "waits", style="red") if own else Text()
            table.add_row(_line(kind.type), f"{kind.landed:,}", f"{kind.rejected:,}", f"{kind.files:,}", waits)
    if left_out:
        table.add_row(Text(f"and {counted(left_out, 'type')} more", style="dim"))
    return table


def _notes(status: Status) -> Iterable[tuple[str, Text]]:
    """Yield the counts of converted and unknown fields, and the like."""
    for kind in status.types:
        for what, lines, names in (
            ("unknown fields", kind.unknown_lines, kind.unknown),
            ("converted", kind.converted_lines, kind.converted),
            ("as others write", sum(kind.shapes.values()), kind.shapes),
        ):
            if lines:
                yield what, _line(f"{kind.type}, {counted(lines, 'line')}: {_most(names)}")


def _most(names: Mapping[str, int]) -> str:
    """Return the most frequent names."""
    shown_names = [f"{name} {count:,}" for name, count in islice(names.items(), _NAMES_SHOWN)]
    more = len(names) - len(shown_names)
    return ", ".join(shown_names) + (f", and {more:,} more" if more else "")


def _waits(kind: TypeStatus, reasons: Sequence[Trouble]) -> bool:
    return any(kind.type in reason.types for reason in reasons)


def _moving(status: Status, recent: Recent, width: int) -> Iterable[RenderableType]:
    """Yield the parts of a live view."""
    points = status.history[-_BARS_SHOWN:]
    if points:
        chart = _grid()
        chart.add_row("rows/s", _bars([point.rows for point in points]))
        chart.add_row("pending", _bars([float(point.pending_files) for point in points]))
        chart.add_row("", Text(_axis(points), style="dim"))
        yield Padding(chart, (1, 0, 0, 2), expand=False)
    files, lines = recent
    if status.recent_files and files:
        rows = [
            (
                file.path if file.failure is None else f"{file.path}: {file.failure}",
                f"{file.rows:,}", f"{file.rejected:,}", decimal(file.bytes), f"{file.seconds:.1f} s",
            )
            for file in status.recent_files[:files]
        ]  # fmt: skip
        yield _listed(("last files", "rows", "rejected", "size", "took"), rows, width, justify="right")
    if status.recent_rejects and lines:
        whys = [
            (f"{line.file}:{line.line}", line.reason, f"{line.field}: {line.detail}" if line.field else line.detail)
            for line in status.recent_rejects[:lines]
        ]
        yield _listed(("last rejected lines", "reason", "why"), whys, width, justify="left")


def _listed(
    heads: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, justify: Literal["left", "right"]
) -> RenderableType:
    """Return a table whose first column gives way to the others: a path is as clear without its middle."""
    cells = [[shown(cell) for cell in row] for row in rows]
    others = [max(cell_len(row[column]) for row in (heads, *cells)) for column in range(1, len(heads))]
    # A sentence may be as long as it likes: it gets half of the room at most.
    others = [min(other, width // 2) for other in others]
    room = max(width - sum(others) - 2 * len(heads) - 2, len(heads[0]))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(heads[0], no_wrap=True)
    for name, least in zip(heads[1:], others, strict=True):
        table.add_column(name, justify=justify, no_wrap=True, min_width=least)
    for first, *rest in cells:
        table.add_row(Text(_without_middle(first, room)), *map(Text, rest))
    return Padding(table, (1, 0, 0, 2), expand=False)


def _without_middle(text: str, room: int) -> str:
    if cell_len(text) <= room:
        return text
    watched = (room - 1) // 2
    while cell_len(text[: room - 1 - watched] + text[-watched:]) > room - 1 and watched > 1:
        room -= 1  # characters that take two columns
        watched = (room - 1) // 2
    return f"{text[: room - 1 - watched]}…{text[-watched:]}"


def _bars(values: Sequence[float]) -> Text:
    """Return a chart of one line, and its highest value."""
    top = max(values)
    steps = [0 if top <= 0 else round(value / top * (len(_BARS) - 1)) for value in values]
    return Text(f"{''.join(_BARS[step] for step in steps)} max {top:,.0f}")


def _axis(points: Sequence[RatePoint]) -> str:
    return f"{_span((points[-1].at_ms - points[0].at_ms) / 1000)} until now"


def _grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    return table


def _line(text: str, style: str = "") -> Text:
    """Return a text that may hold hostile names as one line, without markup and control characters."""
    return Text(shown(text), style=style)


def _pile(pile: FileCount) -> str:
    return f"{counted(pile.files, 'file')} ({decimal(pile.bytes)})"


def _span(seconds: float) -> str:
    """Return a span of time as a person says it."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
