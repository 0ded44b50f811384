"""Judges drafts of dead writers: events that a producer had not made visible when it ended."""

from collections.abc import Iterator
from pathlib import Path

from spoolhouse.clock import now_ms
from spoolhouse.doctor.finding import Finding, fault, good, warning
from spoolhouse.errors import describe
from spoolhouse.spool.drafts import dead, take_up

SUBJECT = "drafts"
_MOST_NAMED = 3


def examine(root: Path, *, fix: bool) -> Iterator[Finding]:
    """Yield a finding if there are any; with `fix` they are made visible instead. Blocks on the disk."""
    found = list(dead(root))
    if not found:
        return
    if fix:
        yield from _taken_up(root, [one.path for one in found])
        return
    named = ", ".join(str(one.path) for one in found[:_MOST_NAMED])
    rest = len(found) - _MOST_NAMED
    size = sum(one.size for one in found)
    yield warning(
        SUBJECT,
        f"{_count(len(found))}, {size:,} bytes: {named}" + (f" and {rest} more" if rest > 0 else ""),
        why="a producer ended before it made these events visible: no daemon takes them",
        hint="`spoolhouse check --fix` takes them up; remove them if their producers have written the events again",
    )


def _taken_up(root: Path, paths: list[Path]) -> Iterator[Finding]:
    count, time = 0, now_ms()
    for path in paths:
        try:
            count += take_up(root, path, time) is not None
        except OSError as error:
            why = "no daemon takes the events in it"
            hint = "make its folder writable for this user"
            yield fault(SUBJECT, f"{path} cannot be taken up: {describe(error)}", why=why, hint=hint)
    yield good(SUBJECT, f"{_count(count)} taken up")


def _count(number: int) -> str:
    return "1 draft of a dead writer" if number == 1 else f"{number} drafts of dead writers"
