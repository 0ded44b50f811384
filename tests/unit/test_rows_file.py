"""The nameless file in which rows wait for DuckDB."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType

from spoolhouse.decode.rows import Rows
from spoolhouse.store.duckdb.rows import written


async def _rows() -> AsyncIterator[Rows]:
    yield Rows(data=b"[1]\n", count=1)


async def test_it_is_not_closed_on_the_event_loop(tmp_path: Path) -> None:
    """A disk may take seconds to free its bytes, and meanwhile nothing else would run."""
    called: list[object] = []

    def note(_frame: FrameType, event: str, function: object) -> None:
        if event == "c_call":
            called.append(getattr(function, "__self__", None))

    async with written(_rows(), tmp_path) as rows:
        sys.setprofile(note)  # of this thread alone, which is the loop's
    sys.setprofile(None)
    assert rows.file.closed
    assert not any(one is rows.file for one in called)
