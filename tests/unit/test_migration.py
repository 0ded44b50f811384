"""What a migration shows: bars on a terminal, log lines elsewhere, and what was done on stdout."""

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn
from structlog.testing import capture_logs

from spoolhouse.cli.migration_report import Bars, Lines
from spoolhouse.store.migration import Change

CHANGE = Change(name="logs", what="+ table", statement="CREATE TABLE logs")


def test_bars_move_with_changes_and_with_the_rows_of_a_rollup() -> None:
    console = Console(file=StringIO(), force_terminal=True, width=100)
    with Progress(
        TextColumn("{task.description}"), MofNCompleteColumn(), console=console, auto_refresh=False
    ) as progress:
        bars = Bars(progress, 3)
        bars.changed(CHANGE)
        bars.filling("logs_hourly", 10, 40)
        bars.filling("logs_hourly", 30, 50)
        changes, rows = progress.tasks
        assert (changes.completed, changes.total) == (1, 3)
        assert (rows.description, rows.completed, rows.total) == ("rows of logs_hourly", 30, 50)
        bars.filled("logs_hourly", 50)
        (changes,) = progress.tasks
        assert changes.completed == 2


def test_lines_are_few_and_say_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 1.0, 4.9, 5.0])
    lines = Lines(clock=lambda: next(times))
    with capture_logs() as logs:
        lines.changed(CHANGE)
        for rows in (0, 10, 20, 30):
            lines.filling("logs_hourly", rows, 40)
        lines.filled("logs_hourly", 40)
    assert capsys.readouterr().out == "done: logs: + table\n"
    assert [(entry["event"], entry["rows"]) for entry in logs] == [
        ("rollup_filling", 0),
        ("rollup_filling", 30),
        ("rollup_filled", 40),
    ]
