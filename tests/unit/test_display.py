"""What a person sees, from what the pipeline tells: figures that add up, and no control characters of others."""

import io
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from spoolhouse.cli.display import Display
from spoolhouse.monitoring.progress import Progress, Silent
from spoolhouse.monitoring.status_model import RecentFile

SPOOL = Path("/spool")


class Screen:
    """A display on a terminal of text, and what stands on it. Each look at the clock takes a second."""

    def __init__(self, *, once: bool = False, terminal: bool = True) -> None:
        self.stream = io.StringIO()
        ticks: Iterator[int] = count()
        console = Console(file=self.stream, force_terminal=terminal, width=200, highlight=False, color_system=None)
        self.display = Display(spool=SPOOL, once=once, console=console, clock=lambda: float(next(ticks)))

    @property
    def text(self) -> str:
        return self.stream.getvalue()


def done(destination: str | None, *, size: int, rows: int, rejected: int = 0) -> RecentFile:
    return RecentFile(
        path="span/p/x.jsonl", destination=destination, at_ms=0, bytes=size, rows=rows, rejected=rejected, seconds=0.0
    )


def ingest(progress: Progress) -> None:
    progress.pending(2, 300)
    progress.landed("t_spans", 1000)
    progress.landed("t_logs", 1)
    progress.settled(done("span/p/processed/a.jsonl", size=200, rows=1000))
    progress.settled(done("log/p/failed/b.jsonl", size=100, rows=1, rejected=3))
    progress.pending(0, 0)


def test_the_first_backlog_is_reported_with_a_row() -> None:
    screen = Screen()
    with screen.display as display:
        ingest(display)
        display.sample("t_spans", {"span_id": "s1", "name": "[bold]x", "empty": "", "none": None, "long": "y" * 500})
    screen.display.summary()
    assert "1,001 rows of 2 files (300 bytes) landed" in screen.text
    assert "One row of t_spans:" in screen.text
    assert "[bold]x" in screen.text
    assert "none" not in screen.text
    assert "y" * 101 not in screen.text
    assert "1 file went to /spool/{type}/{project}/processed/" in screen.text
    assert "1 file went to /spool/{type}/{project}/failed/" in screen.text
    assert "3 lines rejected: see /spool/rejected/" in screen.text
    assert "It keeps watching" in screen.text
    assert screen.text.count("landed in") == 1
    assert screen.text.endswith("Stopped after 2 files.\n")


def test_once_everything_is_reported_at_the_end() -> None:
    screen = Screen(once=True)
    with screen.display as display:
        ingest(display)
        display.sample("t_spans", {"span_id": "s1"})
        assert "landed in" not in screen.text
    screen.display.summary()
    assert "One row of t_spans:" in screen.text
    assert "It keeps watching" not in screen.text


def test_what_came_after_the_first_report_is_reported_at_the_end() -> None:
    screen = Screen()
    with screen.display as display:
        ingest(display)
        display.sample("t_spans", {"span_id": "s1"})
        display.settled(done(None, size=50, rows=7))
    screen.display.summary()
    assert "of 3 files (350 bytes) landed" in screen.text
    assert "1 file deleted, as asked" in screen.text


def test_nothing_to_do_is_said() -> None:
    screen = Screen()
    with screen.display as display:
        display.pending(0, 0)
    screen.display.summary()
    assert screen.text.endswith("Nothing was ingested.\n")


def test_the_bar_shows_how_far_it_is() -> None:
    screen = Screen()
    with screen.display as display:
        display.pending(4, 400)
        display.settled(done("span/p/processed/a.jsonl", size=100, rows=10))
    assert " 25 %  1 of 4 files" in screen.text


def test_a_closed_terminal_stops_no_work() -> None:
    screen = Screen()

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    with screen.display as display:
        screen.display._console.file = Gone()
        ingest(display)
        display.note("hello")
        display.sample("t_spans", {"span_id": "s1"})
    display.summary()


@given(st.text(st.characters(codec=None)))
def test_hostile_names_do_not_steer_the_terminal(name: str) -> None:
    screen = Screen(terminal=False)
    with screen.display as display:
        ingest(display)
        display.note(name)
        display.sample("t_spans", {"name": name})
    screen.text.encode()
    assert [char for char in screen.text if not char.isprintable() and char != "\n"] == []


def test_silence_is_a_progress_too() -> None:
    silent: Progress = Silent()
    ingest(silent)
    silent.sample("t_spans", {})
    silent.note("x")
    silent.summary()
