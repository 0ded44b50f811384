"""Which files may still grow, and when to look at them next."""

import heapq
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from spoolhouse.spool.instance import Instance
from spoolhouse.spool.journal import FileState

_LOOKS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two looks at a file, the last one repeated: most files never grow, and there may be many."""


@dataclass(slots=True, kw_only=True, order=True)
class WatchedFile:
    """A file that may have bytes which no shipment covers: look at it at `due` (monotonic)."""

    due: float
    instance: Instance = field(compare=False)
    file: int = field(compare=False)
    size: int = field(compare=False, default=-1)
    """What the last look saw; bytes ship once two looks saw the same."""
    torn_since: float | None = field(compare=False, default=None)
    """Since when nothing but a line without its end is left."""
    looks: int = field(compare=False, default=0)


class AppendWatch:
    """The files that may still grow. Settle and adoption add, claim looks; safe to call from any thread."""

    def __init__(self) -> None:
        """Start with none."""
        self._heap: list[WatchedFile] = []
        self._watched: set[tuple[str, int]] = set()
        """What is in the heap: a file is looked at by one tail only."""
        self.grown: set[tuple[str, int]] = set()
        """Files in their final place that had grown when they were adopted, until what was appended is on its way."""
        # Comparing two tails runs Python code, so the heap functions are not atomic by themselves.
        self._lock = threading.Lock()

    def watch(self, instance: Instance, file: int) -> None:
        """Look at `file` soon."""
        with self._lock:
            if (instance.id, file) not in self._watched:
                self._watched.add((instance.id, file))
                heapq.heappush(self._heap, WatchedFile(due=time.monotonic() + _LOOKS[0], instance=instance, file=file))

    def again(self, watched: WatchedFile, *, soon: bool) -> None:
        """Look at `tail` again; each time a little later, unless it just changed."""
        watched.looks = 1 if soon else watched.looks + 1
        watched.due = time.monotonic() + _LOOKS[min(watched.looks, len(_LOOKS) - 1)]
        with self._lock:
            if (watched.instance.id, watched.file) not in self._watched:
                self._watched.add((watched.instance.id, watched.file))
                heapq.heappush(self._heap, watched)

    def due(self, limit: int) -> list[WatchedFile]:
        """Take out and return up to `limit` of what is due."""
        now = time.monotonic()
        taken: list[WatchedFile] = []
        with self._lock:
            while self._heap and self._heap[0].due <= now and len(taken) < limit:
                watched = heapq.heappop(self._heap)
                self._watched.discard((watched.instance.id, watched.file))
                taken.append(watched)
        return taken

    def next_due(self) -> float | None:
        """Return when the next file is due; None if none is watched."""
        with self._lock:
            return self._heap[0].due if self._heap else None

    def waiting(self) -> Iterator[tuple[Instance, int]]:
        """Yield the files that cannot be moved before a look at them: a torn line may still be completed."""
        with self._lock:
            append_watch = list(self._heap)
        for watched in append_watch:
            file = watched.instance.files.get(watched.file)
            if file is not None and file.state is not FileState.FINAL:
                yield watched.instance, watched.file
