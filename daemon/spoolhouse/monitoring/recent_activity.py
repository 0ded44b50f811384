"""What happened last, for whoever looks: a few files and a few rejected lines, the oldest forgotten first.

Like the metrics, one for the process. The bytes of a rejected line are not kept here: they are in `rejected/`, behind
the permissions of the spool.
"""

import time
from collections import Counter, deque
from collections.abc import Sequence

from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.monitoring import metrics
from spoolhouse.monitoring.status_model import RecentFile, RecentReject

KEPT = 50
_LONGEST_DETAIL = 200

files: deque[RecentFile] = deque(maxlen=KEPT)
rejects: deque[RecentReject] = deque(maxlen=KEPT)


def settled(file: RecentFile) -> None:
    """Remember a file that is done."""
    files.append(file)


def rejected(file: str, lines_before: int, lines: Sequence[Reject]) -> None:
    """Count rejected lines of a piece of `file` that `lines_before` lines stand before, and remember the last ones."""
    for reason, count in Counter(line.reason.value for line in lines).items():
        metrics.REJECTS.labels(reason).inc(count)
    for line in lines[-KEPT:]:
        _remember(file, lines_before + line.line, line.reason, line.field, line.detail)


def too_long(file: str, line: int) -> None:
    """Count a line that is too long to be held, and remember it."""
    metrics.REJECTS.labels(Reason.TOO_LONG.value).inc()
    _remember(file, line, Reason.TOO_LONG, "", "longer than spool.max_line")


def _remember(file: str, line: int, reason: Reason, field: str, detail: str) -> None:
    rejects.append(
        RecentReject(
            file=file,
            line=line,
            reason=reason.value,
            field=field[:_LONGEST_DETAIL],
            detail=detail[:_LONGEST_DETAIL],
            at_ms=time.time_ns() // 1_000_000,
        )
    )
