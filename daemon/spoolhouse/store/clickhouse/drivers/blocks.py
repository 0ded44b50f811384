"""Read the rows of an insert: piece by piece, or in blocks whose borders do not depend on the pieces."""

from collections.abc import AsyncIterator

from spoolhouse.decode.rows import Rows

BLOCK_BYTES = 4 << 20


async def next_piece(rows: AsyncIterator[Rows]) -> bytes | None:
    """Return the next non-empty piece, or None at the end; errors of `rows` pass through.

    Raises ValueError if the last line has no newline: a server would drop the row, or wait for its rest.
    """
    async for piece in rows:
        if piece.data:
            if not piece.data.endswith(b"\n"):
                raise ValueError("a piece of rows must end with a newline")
            return piece.data
    return None


class Blocks:
    """Regroups pieces into blocks that end at the first line end at or after `size` bytes.

    ClickHouse deduplicates an insert by its token *and* by how many blocks it came in. A retry may find the same rows
    in other pieces; it must not send them in other blocks. (Shown by test_same_batch_again_changes_nothing.)
    """

    def __init__(self, rows: AsyncIterator[Rows], *, size: int = BLOCK_BYTES) -> None:
        self._rows = rows
        self._size = size
        self._piece: bytes | None = b""
        self._start = 0
        """The bytes of the piece that are in blocks already."""

    async def next(self) -> list[bytes]:
        """Return the parts of the next block, each of them whole lines; an empty list at the end."""
        parts: list[bytes] = []
        missing = self._size
        while missing > 0:
            if self._piece is not None and self._start == len(self._piece):
                self._piece, self._start = await next_piece(self._rows), 0
            if self._piece is None:
                break
            # Not found: the piece ends before the block does, and belongs to it whole.
            line_end = self._piece.find(b"\n", self._start + missing - 1)
            end = len(self._piece) if line_end < 0 else line_end + 1
            parts.append(self._piece[self._start : end])
            missing -= end - self._start
            self._start = end
        return parts
