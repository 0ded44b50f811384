"""The writer for programs that run an event loop. The standard library alone."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spoolhouse.producer.encoding import Event
from spoolhouse.producer.writer import SpoolWriter


class AsyncSpoolWriter:
    """`SpoolWriter` by coroutines: each call runs in a thread, so that no disk stops the loop.

    A call that is cancelled may still write: the thread goes on. Write many events with one call where there are many.
    """

    def __init__(self, root: Path | str, **options: Any) -> None:
        """Take the parameters of `SpoolWriter`."""
        self._writer = SpoolWriter(root, **options)

    async def __aenter__(self) -> Self:
        """Return the writer itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Make all written files visible; or remove them if the block raised."""
        await asyncio.to_thread(self._writer.__exit__, kind, error, traceback)

    async def write(self, event_type: str, project: str, events: Event | Iterable[Event]) -> list[Path]:
        """Write one event or many, as `SpoolWriter.write`."""
        return await asyncio.to_thread(self._writer.write, event_type, project, events)

    async def create_score(self, project: str, score: Event) -> Path:
        """Write one score; return its file, which is visible then."""
        return await asyncio.to_thread(self._writer.create_score, project, score)

    async def create_feedback(self, project: str, feedback: Event) -> Path:
        """Write one piece of feedback; return its file, which is visible then."""
        return await asyncio.to_thread(self._writer.create_feedback, project, feedback)

    async def flush(self) -> list[Path]:
        """Make everything visible that was written so far; return the new files."""
        return await asyncio.to_thread(self._writer.flush)

    async def close(self) -> list[Path]:
        """Flush, and take no more events; return the new files."""
        return await asyncio.to_thread(self._writer.close)

    async def discard(self) -> None:
        """Remove all files that are not yet visible."""
        await asyncio.to_thread(self._writer.discard)
