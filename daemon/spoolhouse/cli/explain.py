"""`spoolhouse explain`: shows the rows or the rejects of a file's lines. A dry run, without a server and a spool."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from msgspec import Struct

from spoolhouse.cli import flags
from spoolhouse.clock import now_ms
from spoolhouse.errors import describe
from spoolhouse.file_names import FileNames
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spoolhouse.cli.explain_view import Summary
    from spoolhouse.decode.explain import Explainer, Explanation
    from spoolhouse.decode.origin import Origin
    from spoolhouse.events.declaration import EventType
    from spoolhouse.settings import Settings
    from spoolhouse.spool.layout import Encoding, Place
    from spoolhouse.spool.segment_reader import LongLine, Read

_EPILOG = """\
It is a dry run, with no server and no spool. A line is read as the daemon
reads it, by its settings. What its folder says is taken from --type and
--project, else from the path, if that is {type}/{project}/NAME. Each of the
first lines is explained; all of them are summed up.

examples:
  spoolhouse explain /var/spool/observability/span/shop/a.jsonl
  tail -n 3 app.log | spoolhouse explain - --type log
  spoolhouse explain a.jsonl --json | jq .summary

exit codes:
   0  all lines would land
   1  some lines would be rejected
  66  the file cannot be read, or not to its end
  78  a wrong setting, or no such type
"""
REJECTED = 1
UNREADABLE = 66
_STDIN = "-"
_LIMIT = 10
_NO_PROJECT = "(the folder's)"
_LONGEST_PATH = 4


class _UnreadableError(Exception):
    """The input cannot be read."""


class _Input(Struct, frozen=True, kw_only=True):
    """The lines to explain, and where they come from."""

    path: Path | None
    """None: standard input."""
    origin: "Origin"
    max_line: int
    taken: list[str] | None
    """The names that are taken in its folder, if its own is none of them."""

    @property
    def title(self) -> str:
        name = "standard input" if self.path is None else str(self.path)
        if not self.origin.type:
            return f"{name}, in no type's folder (--type)"
        project = "" if self.origin.project == _NO_PROJECT else f"{self.origin.project}/"
        return f"{name}, as a file of {self.origin.type}/{project}"


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "explain",
        usage="spoolhouse explain (FILE | -) [--limit N] [--json] [options]",
        help="show what becomes of the lines of a file, or why they are rejected",
        description="Show what becomes of each line of a file, or why it is rejected.",
        epilog=_EPILOG,
    )
    parser.add_argument("path", metavar="FILE", help="a file, also a compressed one; - is standard input")
    parser.add_argument("--type", metavar="NAME", help="the event type whose folder it is in")
    parser.add_argument("--project", metavar="NAME", help="the project whose folder it is in")
    parser.add_argument(
        "--limit", type=flags.whole, default=_LIMIT, metavar="N", help=f"explain so many lines (default: {_LIMIT})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the result of each line; return the exit code."""
    settings = flags.settings(options)
    from spoolhouse.cli import explain_view  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.decode.explain import Explainer  # noqa: PLC0415  # as above
    from spoolhouse.events.registry import load  # noqa: PLC0415  # as above
    from spoolhouse.events.shapes import SHAPES  # noqa: PLC0415  # as above

    events = load(settings.events)
    given = _input(options, settings, events)
    explainer = Explainer(events, SHAPES, given.origin)
    summary = explain_view.Summary(prefix=settings.clickhouse.insert_prefix)
    lines: list[Explanation] = []
    if not options.json:
        explain_view.head(given.title, given.taken)
    failure = ""
    try:
        for explanation in _explained(given, explainer, options.limit, summary):
            if options.json:
                lines.append(explanation)
            else:
                explain_view.show(explanation, summary.prefix)
    except _UnreadableError as error:
        failure = str(error)
    if options.json:
        where = {"file": given.title.partition(",")[0], "type": given.origin.type, "project": given.origin.project}
        print(json.dumps(explain_view.record(where, lines, summary), indent=2))
    elif summary.counts.lines or not failure:
        explain_view.sum_up(summary)
    if failure:
        sys.stdout.flush()
        print(f"spoolhouse: {shown(failure)}", file=sys.stderr)
        return UNREADABLE
    return REJECTED if summary.rejected else 0


def _input(options: argparse.Namespace, settings: "Settings", events: "Mapping[str, EventType]") -> _Input:
    """Return the input. Raises `BadSettingError` for an unknown event type."""
    from spoolhouse.cli.types import known  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.decode.origin import Origin  # noqa: PLC0415  # as above

    path = None if options.path == _STDIN else Path(options.path)
    place = None if path is None else _place(path, events)
    kind = known(options.type, events) if options.type else place.type if place else ""
    project = options.project or (place.project if place else "")
    name = place.name if place else "stdin" if path is None else path.name
    origin = Origin(
        type=kind,
        project=project or _NO_PROJECT,
        policy=settings.spool.project if project else "trust",
        clock_ms=now_ms(),
        expired=settings.spool.expired,
        future=settings.spool.future,
        file=f"{kind}/{project}/{name}",
        unknown=settings.events.unknown,
    )
    names = FileNames(settings.spool.names)
    is_taken = path is None or names.take(kind, path.name)
    taken = None if is_taken else names.of_type(kind)
    return _Input(path=path, origin=origin, max_line=settings.spool.max_line, taken=taken)


def _place(path: Path, events: "Mapping[str, EventType]") -> "Place | None":
    """Return where a file lies in a spool, or was dropped there, as its path tells; None if it tells nothing."""
    from spoolhouse.spool.layout import dropped_at  # noqa: PLC0415  # --help needs none of this

    parts = Path(os.path.abspath(path)).parts[-_LONGEST_PATH:]  # noqa: PTH100  # `resolve` would follow links
    for some in (parts, parts[1:]):
        for place in reversed(dropped_at(PurePath(*some))):
            if place.type in events:
                return place
    return None


def _explained(given: _Input, explainer: "Explainer", limit: int, summary: "Summary") -> "Iterator[Explanation]":
    """Yield the explanations of the first lines, and sum all lines up. Raises `_UnreadableError` at the end."""
    from spoolhouse.spool.segment_reader import LongLine  # noqa: PLC0415  # --help needs none of this

    before = 0
    for step in _steps(given, explainer):
        if isinstance(step, LongLine):
            if step.part.last:
                before += 1
                summary.add_long(before)
            continue
        offset = step.piece.offset
        for number, data in enumerate(BytesIO(step.piece.data), before + 1):
            if summary.explained >= limit:
                break
            if explanation := explainer.explain(data, number, offset):
                summary.explained += 1
                yield explanation
            offset += len(data)
        summary.add(step.decoded, before)
        before += step.piece.data.count(b"\n")


def _steps(given: _Input, explainer: "Explainer") -> "Iterator[Read | LongLine]":
    """Yield the content as the daemon reads it. Raises `_UnreadableError`."""
    from spoolhouse.spool.segment_reader import CORRUPT, SegmentReader  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.spool.shipment import CHUNK_BYTES  # noqa: PLC0415  # as above

    name = "standard input" if given.path is None else str(given.path)
    try:
        descriptor = 0 if given.path is None else os.open(given.path, os.O_RDONLY | os.O_CLOEXEC)
        chunk = os.read(descriptor, size := min(CHUNK_BYTES, given.max_line))
    except OSError as error:
        raise _UnreadableError(f"{describe(error)}" if error.filename else f"{name}: {error.strerror}") from error
    reader = SegmentReader(0, _encoding(given.path, chunk), explainer.decoder, given.origin, given.max_line)
    try:
        while chunk:
            yield from reader.feed(chunk)
            chunk = os.read(descriptor, size)
        yield from reader.finish()
    except (OSError, *CORRUPT) as error:
        raise _UnreadableError(f"{name}: cannot be read to its end: {error}") from error
    finally:
        os.close(descriptor)


def _encoding(path: Path | None, first: bytes) -> "Encoding":
    """Return the compression of a file by its name, as the daemon does; of standard input by its first bytes."""
    from spoolhouse.spool.layout import Encoding, encoding  # noqa: PLC0415  # --help needs none of this

    if path is not None:
        return encoding(path.name)
    marks = {
        b"\x1f\x8b": Encoding.GZIP,
        b"\x28\xb5\x2f\xfd": Encoding.ZSTD,
        b"BZh": Encoding.BZIP2,
        b"\xfd7zXZ": Encoding.XZ,
    }
    return next((found for mark, found in marks.items() if first.startswith(mark)), Encoding.PLAIN)
