"""`spoolhouse generate`: writes sample events into the spool, as a producer should."""

import argparse
import itertools
import os
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.cli import flags
from spoolhouse.export import SpoolWriter
from spoolhouse.export.samples import PER_TRACE, WINDOW_MS, SampleEvents
from spoolhouse.monitoring.logs import shown

_EPILOG = """\
The events are those of an agent application: traces with their spans, logs,
metrics, scores and feedback, whose ids fit together. Each file appears under
its name only when it is whole and on the disk. The same --seed and --now give
the same files.

examples:
  spoolhouse generate --file-storage-path var/spool
  spoolhouse generate --file-storage-path var/spool \\
      --rows 1000000 --files 1 --types span
  spoolhouse generate --file-storage-path var/spool \\
      --rows 60000 --files 600 --rate 1000
  spoolhouse generate --file-storage-path var/spool --every 1
"""

_NEVER_ROLL = 1 << 62
_BLOCK = 1000
"""Events between two readings of the clock."""
_VISIBLE_EVERY = 5.0
"""With --every, about how many seconds a file has the traces of: with one file each there would soon be 100 000."""
_LIVE_PROJECT = "project-1"
_MOMENT_MS = 10_000
"""How far back the events of one more trace reach."""


class File(Struct, frozen=True, kw_only=True):
    """One file to write: `count` events of a type and project, from number `first` on."""

    type: str
    project: str
    first: int
    count: int


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "generate",
        usage="spoolhouse generate [options]",
        help="write sample events into the spool",
        description="Write sample events into the spool, as a producer should.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--rows", type=flags.count, default=10_000, metavar="N", help="events in all (default: 10000)")
    add("--files", type=flags.count, default=20, metavar="N", help="files in all (default: 20)")
    add("--rate", type=flags.rate, metavar="R", help="events per second (default: as fast as possible)")
    add(
        "--every",
        type=flags.rate,
        metavar="SECONDS",
        help="afterwards one more trace each time, as it happens, until Ctrl-C",
    )
    add(
        "--pid",
        type=flags.count,
        metavar="PID",
        help="with --every: quietly in the background of this process, end with it",
    )
    add(
        "--seed",
        type=flags.whole,
        metavar="S",
        help="the same seed gives the same events (default: a new one, printed)",
    )
    add("--now", type=_time, metavar="TIME", help="no event is later, ISO 8601 (default: now)")
    add(
        "--types",
        type=_types,
        metavar="LIST",
        help=f"of {','.join(PER_TRACE)}, and of the types in events.folder "
        "(default: all, or the first so many if --files are fewer)",
    )
    add("--projects", type=flags.count, default=3, metavar="N", help="projects at most (default: 3)")
    add(
        "--shape",
        choices=("flat", "enveloped", "mixed"),
        default="flat",
        help="how lines are written (default: %(default)s)",
    )
    flags.add_spool(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Write the files; return the exit code."""
    if options.rows < options.files:
        options.parser.error(f"argument --files: {options.files} files need as many rows, not --rows {options.rows}")
    settings = flags.settings(options)
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.export.samples.declared import template_of  # noqa: PLC0415  # nor this

    declared = {name: template_of(event) for name, event in load(settings.events).items() if name not in PER_TRACE}
    known = (*PER_TRACE, *declared)
    for name in options.types or ():
        if name not in known:
            options.parser.error(f"argument --types: {name!r} is none of {', '.join(known)}")
    types = options.types or known[: options.files]
    if options.files < len(types):
        options.parser.error(
            f"argument --files: {len(types)} types need as many files, not {options.files} (or fewer --types)"
        )
    root = settings.spool.root
    seed = secrets.randbits(32) if options.seed is None else options.seed
    now_ms = time.time_ns() // 1_000_000 if options.now is None else options.now
    files = plan(types=types, projects=options.projects, files=options.files, rows=options.rows)
    traces = max((file.first + file.count) // PER_TRACE.get(file.type, 1) + 1 for file in files)
    sample = SampleEvents(seed=seed, now_ms=now_ms, traces=traces, shape=options.shape, declared=declared)
    written: Counter[str] = Counter()
    # Closed at the end, however it comes: drafts are removed then, not when the garbage collector runs.
    with (
        _bar(options.rows, quiet=options.pid is not None) as advance,
        closing(write(root, files, sample, rate=options.rate)) as steps,
    ):
        for file, rows in steps:
            written[file.type] += rows
            advance(rows)
    print(shown(f"wrote {options.rows:,} events in {len(files):,} files below {root}, --seed {seed}"))
    width = max(map(len, written))
    for event_type, rows in written.items():
        print(f"  {event_type:{width}} {rows:>12,}")
    if options.every is not None:
        print(f"One more trace each {options.every:g} s; Ctrl-C ends it.", flush=True)
        _keep_writing(root, types, replace(sample, seed=seed + 1, traces=1, window_ms=_MOMENT_MS), options)
    return 0


def _keep_writing(root: Path, types: tuple[str, ...], first: SampleEvents, options: argparse.Namespace) -> None:
    """Write a trace with all that belongs to it every so often, until a signal asks to end.

    A file has the traces of some seconds. All are of the first project, so that whoever follows it sees each.
    """
    stop = threading.Event()
    # Also where a shell has told a process in its background to ignore Ctrl-C.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: stop.set())
    traces = max(1, round(_VISIBLE_EVERY / options.every))
    with SpoolWriter(root, max_age=None) as spool:
        for number in itertools.count():
            if stop.wait(options.every) or not _is_there(options.pid):
                return
            sample = replace(first, seed=first.seed + number, now_ms=time.time_ns() // 1_000_000)
            for event_type in types:
                lines = sample.lines(event_type, _LIVE_PROJECT, 0, PER_TRACE.get(event_type, 1))
                spool.write(event_type, _LIVE_PROJECT, lines)
            if (number + 1) % traces == 0:
                spool.flush()


def _is_there(pid: int | None) -> bool:
    if pid is not None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
    return True


def plan(*, types: tuple[str, ...], projects: int, files: int, rows: int) -> list[File]:
    """Return exactly `files` files that hold exactly `rows` events, the types in the proportion they have in a trace.

    Each type gets at least one file (so `files` >= the number of types, and `rows` >= `files`). Every type has a file
    in each project, which limits their number, and each project has the same share: then the ids of all types fit
    together. The types take turns.
    """
    files_of = _shares(files, types, least=dict.fromkeys(types, min(projects, files // len(types))))
    rows_of = _shares(rows, types, least=files_of)
    projects = min(projects, *files_of.values())
    placed: list[tuple[float, File]] = []
    for event_type in types:
        rows_in = _evenly(rows_of[event_type], projects)
        for project, count in enumerate(_evenly(files_of[event_type], projects)):
            first = 0
            for number, size in enumerate(_evenly(rows_in[project], count)):
                file = File(type=event_type, project=f"project-{project + 1}", first=first, count=size)
                placed.append(((number + 0.5) / count, file))
                first += size
    return [file for _, file in sorted(placed, key=lambda item: item[0])]


def _evenly(total: int, parts: int) -> list[int]:
    each, more = divmod(total, parts)
    return [each + (number < more) for number in range(parts)]


def _shares(total: int, types: tuple[str, ...], least: dict[str, int]) -> dict[str, int]:
    """Split `total`: each type gets its `least`, and the rest is shared in the proportion of `PER_TRACE`."""
    shares = dict(least)
    rest = total - sum(shares.values())
    weight = {event_type: PER_TRACE.get(event_type, 1) for event_type in types}
    weights = sum(weight.values())
    for event_type in types:
        shares[event_type] += rest * weight[event_type] // weights
    # The remainder of the rounding goes to the most frequent type.
    shares[max(types, key=lambda event_type: weight[event_type])] += total - sum(shares.values())
    return shares


def write(root: Path, files: list[File], sample: SampleEvents, *, rate: float | None) -> Generator[tuple[File, int]]:
    """Write the files one after the other, `rate` events a second on average; yield each step's number of events."""
    random = Random(sample.seed)  # noqa: S311  # names of sample files
    started, done = time.monotonic(), 0
    with SpoolWriter(
        root,
        max_bytes=_NEVER_ROLL,
        max_lines=_NEVER_ROLL,
        max_age=None,
        clock=lambda: sample.now_ms,
        new_id=lambda: f"{random.getrandbits(64):016x}",
    ) as spool:
        for file in files:
            end = file.first + file.count
            for first in range(file.first, end, _BLOCK):
                count = min(_BLOCK, end - first)
                spool.write(file.type, file.project, sample.lines(file.type, file.project, first, count))
                done += count
                if rate is not None:
                    time.sleep(max(0.0, started + done / rate - time.monotonic()))
                yield file, count
            spool.flush()


@contextmanager
def _bar(rows: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, unless `quiet`, while the block runs; yield a function that advances it."""
    from rich.console import Console  # noqa: PLC0415  # --help needs none of this
    from rich.progress import (  # noqa: PLC0415  # nor this
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn("writing"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=quiet or not sys.stderr.isatty()) as progress:
        task = progress.add_task("writing", total=rows)
        yield lambda count: progress.advance(task, count)


def _types(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",")))


def _time(text: str) -> int:
    """Return milliseconds since 1970."""
    try:
        time_ = datetime.fromisoformat(text)
        milliseconds = int((time_ if time_.tzinfo else time_.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        milliseconds = -1
    if not milliseconds >= WINDOW_MS:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-01-31T12:00:00Z")
    return milliseconds
