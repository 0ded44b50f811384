"""Which files may still grow, and when to look at them next."""

import heapq
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from spoolhouse.spool.home import Home
from spoolhouse.spool.journal import FileState

_LOOKS = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two looks at a file, the last one repeated: most files never grow, and there may be many."""


@dataclass(slots=True, kw_only=True, order=True)
class Tail:
    """A file that may have bytes which no shipment covers: look at it at `due` (monotonic)."""

    due: float
    home: Home = field(compare=False)
    file: int = field(compare=False)
    size: int = field(compare=False, default=-1)
    """What the last look saw; bytes ship once two looks saw the same."""
    torn_since: float | None = field(compare=False, default=None)
    """Since when nothing but a line without its end is left."""
    looks: int = field(compare=False, default=0)


class Tails:
    """The files that may still grow. Settle and adoption add, claim looks; safe to call from any thread."""

    def __init__(self) -> None:
        """Start with none."""
        self._heap: list[Tail] = []
        self._watched: set[tuple[str, int]] = set()
        """What is in the heap: a file is looked at by one tail only."""
        self.grown: set[tuple[str, int]] = set()
        """Files in their final place that had grown when they were adopted, until what was appended is on its way."""
        # Comparing two tails runs Python code, so the heap functions are not atomic by themselves.
        self._lock = threading.Lock()

    def watch(self, home: Home, file: int) -> None:
        """Look at `file` soon."""
        with self._lock:
            if (home.instance, file) not in self._watched:
                self._watched.add((home.instance, file))
                heapq.heappush(self._heap, Tail(due=time.monotonic() + _LOOKS[0], home=home, file=file))

    def again(self, tail: Tail, *, soon: bool) -> None:
        """Look at `tail` again; each time a little later, unless it just changed."""
        tail.looks = 1 if soon else tail.looks + 1
        tail.due = time.monotonic() + _LOOKS[min(tail.looks, len(_LOOKS) - 1)]
        with self._lock:
            if (tail.home.instance, tail.file) not in self._watched:
                self._watched.add((tail.home.instance, tail.file))
                heapq.heappush(self._heap, tail)

    def due(self, limit: int) -> list[Tail]:
        """Take out and return up to `limit` of what is due."""
        now = time.monotonic()
        taken: list[Tail] = []
        with self._lock:
            while self._heap and self._heap[0].due <= now and len(taken) < limit:
                tail = heapq.heappop(self._heap)
                self._watched.discard((tail.home.instance, tail.file))
                taken.append(tail)
        return taken

    def next_due(self) -> float | None:
        """Return when the next file is due; None if none is watched."""
        with self._lock:
            return self._heap[0].due if self._heap else None

    def waiting(self) -> Iterator[tuple[Home, int]]:
        """Yield the files that cannot be moved before a look at them: a torn line may still be completed."""
        with self._lock:
            tails = list(self._heap)
        for tail in tails:
            file = tail.home.files.get(tail.file)
            if file is not None and file.state is not FileState.FINAL:
                yield tail.home, tail.file
