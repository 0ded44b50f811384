"""The last few settled files and rejected lines, the oldest forgotten first.

The texts of rejected lines are kept apart: only those who may see what has landed may see them.
"""

from collections import Counter, deque
from collections.abc import Sequence

from msgspec import Struct

from spoolhouse.clock import now_ms
from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.monitoring import metrics
from spoolhouse.monitoring.logs import one_line
from spoolhouse.monitoring.status_model import RecentFile, RecentReject

KEPT = 50
_LONGEST_DETAIL = 200
_LONGEST_TEXT = 1000


class RejectedText(Struct, frozen=True, kw_only=True):
    """How a rejected line begins."""

    file: str
    line: int
    text: str


class RecentActivity:
    """Remembers the files and rejected lines of one run."""

    def __init__(self) -> None:
        """Remember nothing yet."""
        self.files: deque[RecentFile] = deque(maxlen=KEPT)
        self.rejects: deque[RecentReject] = deque(maxlen=KEPT)
        self.retries: dict[str, int] = {}
        """By path, how often the reading of a file was tried again that has failed and is not settled yet."""
        self.texts: deque[RejectedText] = deque(maxlen=KEPT)

    def settled(self, file: RecentFile) -> None:
        """Remember a settled file."""
        self.files.append(file)

    def rejected(self, file: str, lines_before: int, lines: Sequence[Reject]) -> None:
        """Count rejected lines, and remember the last ones; the piece of `file` begins after `lines_before` lines."""
        for reason, count in Counter(line.reason.value for line in lines).items():
            metrics.REJECTS.labels(reason).inc(count)
        for line in lines[-KEPT:]:
            self._remember(file, lines_before + line.line, line.reason, line.field, line.detail)
            text = one_line(line.raw[:_LONGEST_TEXT].decode(errors="replace"))
            self.texts.append(RejectedText(file=file, line=lines_before + line.line, text=text))

    def too_long(self, file: str, line: int) -> None:
        """Count and remember a line that is too long to be held in memory."""
        metrics.REJECTS.labels(Reason.TOO_LONG.value).inc()
        self._remember(file, line, Reason.TOO_LONG, "", "longer than spool.max_line")

    def _remember(self, file: str, line: int, reason: Reason, field: str, detail: str) -> None:
        self.rejects.append(
            RecentReject(
                file=file,
                line=line,
                reason=reason.value,
                field=field[:_LONGEST_DETAIL],
                detail=detail[:_LONGEST_DETAIL],
                at_ms=now_ms(),
            )
        )
