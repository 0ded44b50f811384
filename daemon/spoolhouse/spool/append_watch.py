"""The files that may still grow, and the time of their next check."""

import heapq
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Self

from msgspec import Struct

from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal_files import FileState, SettledFile

_GROUP = 2000
_CHECK_PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two checks of a file, the last one repeated: most files never grow, and there may be many."""
_PAUSE_OF_A_FILE, _LONGEST_PAUSE = 0.0005, 60.0
"""Seconds between two checks of settled files for each of them, and at the most: a check of one takes a hundredth."""


class WatchedFile(Struct, kw_only=True, eq=False):
    """A file that may have bytes which no shipment covers. Its next check is at `due` (monotonic)."""

    due: float
    instance: Instance
    file: int
    size: int = -1
    """The size at the last check; bytes ship once two checks agree."""
    torn_since: float | None = None
    """The time since which only an unterminated line is left."""
    checks: int = 0

    def __lt__(self, other: Self) -> bool:
        """Compare by `due` alone, for the heap."""
        return self.due < other.due


class WatchedGroup(Struct, kw_only=True, eq=False):
    """Files that were settled together, and are checked together."""

    due: float
    instance: Instance
    files: Sequence[SettledFile]
    checks: int = 0

    def __lt__(self, other: Self) -> bool:
        """Compare by `due` alone, for the heap."""
        return self.due < other.due


class AppendWatch:
    """The files that may still grow. Settle and adoption add files, claim checks them; safe to call from any thread."""

    def __init__(self) -> None:
        """Begin without files."""
        self._heap: list[WatchedFile] = []
        self._groups: list[WatchedGroup] = []
        self._watched: set[tuple[str, int]] = set()
        """The files in the heap: each is watched once."""
        self.grown: set[tuple[str, int]] = set()
        """Final files that had grown before their adoption, until their appended bytes are under way."""
        # Comparing two entries runs Python code, so the heap functions are not atomic by themselves.
        self._lock = threading.Lock()

    def watch(self, instance: Instance, file: int) -> None:
        """Check `file` soon."""
        with self._lock:
            if (instance.id, file) not in self._watched:
                self._watched.add((instance.id, file))
                heapq.heappush(
                    self._heap, WatchedFile(due=time.monotonic() + _CHECK_PAUSES[0], instance=instance, file=file)
                )

    def again(self, watched: WatchedFile, *, soon: bool) -> None:
        """Check `watched` again; each time a little later, unless it just changed."""
        watched.checks = 1 if soon else watched.checks + 1
        watched.due = time.monotonic() + _CHECK_PAUSES[min(watched.checks, len(_CHECK_PAUSES) - 1)]
        with self._lock:
            if (watched.instance.id, watched.file) not in self._watched:
                self._watched.add((watched.instance.id, watched.file))
                heapq.heappush(self._heap, watched)

    def watch_settled(self, instance: Instance, files: Sequence[SettledFile]) -> None:
        """Check files in their final place, together."""
        for first in range(0, len(files), _GROUP):
            self._watch_group(WatchedGroup(due=0.0, instance=instance, files=files[first : first + _GROUP]))

    def settled_again(self, group: WatchedGroup) -> None:
        """Check a group again, each time a little later."""
        group.checks += 1
        self._watch_group(group)

    def _watch_group(self, group: WatchedGroup) -> None:
        with self._lock:
            count = len(group.files) + sum(len(other.files) for other in self._groups)
            least = min(_LONGEST_PAUSE, count * _PAUSE_OF_A_FILE)
            group.due = time.monotonic() + max(least, _CHECK_PAUSES[min(group.checks, len(_CHECK_PAUSES) - 1)])
            heapq.heappush(self._groups, group)

    def settled_due(self) -> WatchedGroup | None:
        """Take out and return a group that is due."""
        with self._lock:
            is_due = self._groups and self._groups[0].due <= time.monotonic()
            return heapq.heappop(self._groups) if is_due else None

    def due(self, limit: int) -> list[WatchedFile]:
        """Take out and return up to `limit` files that are due."""
        now = time.monotonic()
        taken: list[WatchedFile] = []
        with self._lock:
            while self._heap and self._heap[0].due <= now and len(taken) < limit:
                watched = heapq.heappop(self._heap)
                self._watched.discard((watched.instance.id, watched.file))
                taken.append(watched)
        return taken

    def next_due(self) -> float | None:
        """Return the time of the next check; None without files."""
        with self._lock:
            return min((heap[0].due for heap in (self._heap, self._groups) if heap), default=None)

    def waiting(self) -> Iterator[tuple[Instance, int]]:
        """Yield the files that need a check before their move: a torn line may still be completed."""
        with self._lock:
            append_watch = list(self._heap)
        for watched in append_watch:
            file = watched.instance.files.get(watched.file)
            if file is not None and file.state is not FileState.FINAL:
                yield watched.instance, watched.file
