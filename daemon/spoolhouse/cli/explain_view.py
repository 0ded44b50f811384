"""Explanations of lines, and their sum, as text of 80 columns or wider, and as JSON."""

import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct, field

from spoolhouse.cli.words import counted
from spoolhouse.decode.counts import MOST_NAMES, OTHER, LineCounts
from spoolhouse.decode.decoded import Decoded
from spoolhouse.decode.explain import ExplainedRow, Explanation
from spoolhouse.decode.reject import Reason
from spoolhouse.monitoring.logs import shown

_WIDEST = 160
_EMPTY: tuple[object, ...] = ("", "{}", "[]", None, [], ())
_LABEL = 9
_ROWS_SHOWN = 6


class Summary(Struct, kw_only=True):
    """The totals of all lines."""

    prefix: str
    """Of the tables."""
    explained: int = 0
    """Lines that were explained one by one."""
    counts: LineCounts = field(default_factory=LineCounts)
    rejected: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    rejects: dict[tuple[str, str], tuple[int, int, str]] = field(default_factory=dict)
    """By reason and field: lines, the first of them, and its detail."""

    def add(self, decoded: Decoded, before: int) -> None:
        """Add the lines of a piece, which stands behind `before` lines."""
        self.counts.count(decoded)
        self.rejected += len(decoded.rejects)
        for table, rows in decoded.rows.items():
            self.rows[self.prefix + table] = self.rows.get(self.prefix + table, 0) + rows.count
        for reject in decoded.rejects:
            self._add(reject.reason, reject.field, before + reject.line, reject.detail)

    def add_long(self, line: int) -> None:
        """Add a line that is longer than a line may be."""
        self.counts.lines += 1
        self.rejected += 1
        self._add(Reason.TOO_LONG, "", line, "longer than spool.max_line")

    def _add(self, reason: Reason, name: str, line: int, detail: str) -> None:
        key = (reason.value, name)
        if key not in self.rejects and len(self.rejects) >= MOST_NAMES:
            key = (OTHER, "")
        lines, first, first_detail = self.rejects.get(key, (0, line, detail))
        self.rejects[key] = (lines + 1, first, first_detail)


def head(title: str, taken: Sequence[str] | None) -> None:
    """Print the title; `taken`: the file names that the spool takes, if this is none of them."""
    print(shown(title))
    if taken is not None:
        _print("", f"The spool takes no file of this name, but {', '.join(taken)}, also compressed (spool.names).")


def show(line: Explanation, prefix: str) -> None:
    """Print the result of a line."""
    types = dict.fromkeys(row.type for row in line.rows)
    kind = ", ".join([line.shape, *types]) if line.shape else line.type
    tables = ", ".join(dict.fromkeys(prefix + row.table for row in line.rows)) or "no row"
    print()
    if line.rejected is None:
        _print(f"line {line.line}: ", f"{kind} → {tables}")
        for row in line.rows[:_ROWS_SHOWN]:
            _show_row(row, prefix if len(line.rows) > 1 else None)
        if len(line.rows) > _ROWS_SHOWN:
            _print("  ", f"and {len(line.rows) - _ROWS_SHOWN:,} more rows")
    else:
        what = f"{line.rejected.reason}, {line.rejected.field}" if line.rejected.field else line.rejected.reason
        read_as = f" (read as {line.shape or line.type})" if line.shape or line.type else ""
        _print(f"line {line.line}: ", f"rejected: {what}: {line.rejected.detail}{read_as}")
        for hint in line.rejected.hints:
            _labelled("hint", hint)
    derived: dict[str, list[str]] = {}
    for column, source in line.derived.items():
        derived.setdefault(source, []).append(column)
    _labelled("derived", "; ".join(f"{', '.join(columns)}: {source}" for source, columns in derived.items()))
    _labelled("converted", ", ".join(line.converted))
    names = (f"{name} ({line.meant[name]}?)" if name in line.meant else name for name in line.unknown)
    _labelled("unknown", ", ".join(names))


def sum_up(summary: Summary) -> None:
    """Print the totals."""
    counts = summary.counts
    print()
    landing = counts.lines - summary.rejected
    _print("", f"{counted(counts.lines, 'line')}: {landing:,} would land, {summary.rejected:,} would be rejected")
    if counts.lines > summary.explained > 0:
        _print("", f"Explained above: the first {summary.explained:,} (--limit). These are the counts of all lines.")
    _labelled("rows", _counted(summary.rows))
    _labelled("shapes", _counted(counts.shapes))
    _labelled("converted", _counted(counts.converted))
    _labelled("unknown", _counted(counts.unknown))
    for (reason, name), (number, first, detail) in summary.rejects.items():
        where = f"line {first:,}" if number == 1 else f"{number:,} lines, first line {first:,}"
        _labelled("rejected", f"{reason}{' ' * bool(name)}{name}: {where}: {detail}")


def record(where: Mapping[str, str], lines: Sequence[Explanation], summary: Summary) -> Mapping[str, object]:
    """Return everything as one JSON object."""
    for line in lines:
        for row in line.rows:
            row.table = summary.prefix + row.table
    counts = summary.counts
    return {
        **where,
        "lines": msgspec.to_builtins(lines),
        "summary": {
            **msgspec.structs.asdict(counts),
            "rejected": summary.rejected,
            "rows": summary.rows,
            "rejects": [
                {"reason": reason, "field": name, "lines": number, "first_line": first, "detail": detail}
                for (reason, name), (number, first, detail) in summary.rejects.items()
            ],
        },
    }


def _show_row(row: ExplainedRow, prefix: str | None) -> None:
    """Print the columns of a row that have a value; with a prefix, the name of its table above them."""
    if prefix is not None:
        _print("  ", f"{prefix}{row.table}:")
    values = {column: value for column, value in row.values.items() if value not in _EMPTY}
    width = max(map(len, values), default=0)
    for column, value in values.items():
        text = f"  {column:<{width}}  {shown(str(value))}"
        print(text if len(text) <= _width() else f"{text[: _width() - 1]}…")


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _labelled(label: str, text: str) -> None:
    """Print a text with a label in front; nothing if there is no text."""
    if text:
        _print(f"  {label:<{_LABEL}}  ", text, " " * (_LABEL + 4))


def _print(first: str, text: str, indent: str = "  ") -> None:
    lines: Iterable[str] = textwrap.wrap(
        shown(text), _width(), initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    )
    for line in lines:
        print(line)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)
