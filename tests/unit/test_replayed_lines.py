"""Lines of a replayed file are decoded as where they stood first, however the file is cut into pieces."""

import json
from pathlib import Path

import pytest

from spoolhouse.decode.line_decoder import LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.spool.line_spans import Span
from spoolhouse.spool.replay_origins import FirstPlaces, OriginsWriter

CLOCK_MS = 1770091506789
LINES = [
    json.dumps({"type": "log", "level": "info", "message": f"m{number}", "timestamp": CLOCK_MS}).encode()
    if number != 2
    else b"{bad"
    for number in range(5)
]
FIRST = [("log/p/a", 0), ("log/p/a", len(LINES[0]) + 1), ("log/p/a", 900), ("log/p/b", 40), ("log/p/a", 7)]
"""The first two lines were neighbours."""


def decoded(decoder: LineDecoder, data: bytes, offset: int, origin: Origin) -> tuple[list[str], list[tuple[int, int]]]:
    result = decoder.decode(Piece(offset=offset, data=data), origin)
    rows = [json.loads(row)[0] for row in result.rows["logs"].data.splitlines()] if result.rows else []
    return rows, [(reject.line, reject.offset) for reject in result.rejects]


def origin(file: str, places: FirstPlaces | None = None) -> Origin:
    return Origin(project="p", policy="trust", clock_ms=CLOCK_MS, type="log", file=file, first_places=places)


@pytest.mark.parametrize("cut", range(len(LINES) + 1))
def test_ids_are_those_of_the_first_places(tmp_path: Path, cut: int) -> None:
    with (tmp_path / "origins").open("wb") as output:
        writer = OriginsWriter(output)
        for (file, offset), line in zip(FIRST, LINES, strict=True):
            writer.add(file, Span(line=offset + 1, lines=1, offset=offset, length=len(line)))
        writer.end()
    decoder = LineDecoder(BUILT_IN)
    expected = [
        name
        for (file, offset), line in zip(FIRST, LINES, strict=True)
        for name in decoded(decoder, line + b"\n", offset, origin(file))[0]
    ]
    assert len(set(expected)) == len(LINES) - 1
    replayed = origin("log/p/x.replayed.jsonl", FirstPlaces(tmp_path / "origins"))
    data = b"".join(line + b"\n" for line in LINES)
    at = sum(len(line) + 1 for line in LINES[:cut])
    for _ in range(2):  # it may be read again
        parts = [decoded(decoder, part, start, replayed) for start, part in ((0, data[:at]), (at, data[at:])) if part]
        assert [name for rows, _ in parts for name in rows] == expected
        bad = sum(len(line) + 1 for line in LINES[:2])
        assert [found for _, rejects in parts for found in rejects] == [(3 if cut == 0 or cut > 2 else 3 - cut, bad)]


def test_without_origins_a_replayed_file_is_any_file(tmp_path: Path) -> None:
    data = b"".join(line + b"\n" for line in LINES)
    decoder, file = LineDecoder(BUILT_IN), "log/p/x.replayed.jsonl"
    found = decoded(decoder, data, 0, origin(file, FirstPlaces(tmp_path / "none")))
    assert found == decoded(decoder, data, 0, origin(file))
