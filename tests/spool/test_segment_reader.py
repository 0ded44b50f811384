"""Reading a segment: whole lines come out, whatever the packing and the damage, in bounded memory."""

import asyncio
import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from spoolhouse.decode.line_decoder import LineDecoder, Origin
from spoolhouse.decode.reject import Reason
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.spool import layout
from spoolhouse.spool.claims import Claim
from spoolhouse.spool.instance import Instance
from spoolhouse.spool.layout import Encoding, Place
from spoolhouse.spool.reject_file import RejectFile, Source
from spoolhouse.spool.row_ranges import RowRange
from spoolhouse.spool.segment_reader import CORRUPT, LongLine, Read, SegmentReader
from spoolhouse.spool.shipment import Limits, Segment, Shipment
from spoolhouse.spool.shipment_reader import ShipmentReader
from tests.integration.build import disk_retry

MIB = 1 << 20
DECODER = LineDecoder(BUILT_IN)
ORIGIN = Origin(project="p", policy="trust", clock_ms=1_700_000_000_000)
ID_COLUMN = [column.name for column in BUILT_IN["log"].table.columns].index("id")
BOMB = """
import sys
from pathlib import Path
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.decode.line_decoder import LineDecoder, Origin
from spoolhouse.spool.layout import Encoding
from spoolhouse.spool.segment_reader import LongLine, SegmentReader

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024

origin = Origin(project="p", policy="trust", clock_ms=0)
path = Path(sys.argv[1])
reader = SegmentReader(0, Encoding(sys.argv[2]), LineDecoder(BUILT_IN), origin, 16 << 20)
before, content = peak(), 0
with path.open("rb") as file:
    while chunk := file.read(1 << 20):
        for item in reader.feed(chunk):
            content += len(item.part.data) if isinstance(item, LongLine) else 0
for item in reader.finish():
    content += len(item.part.data) if isinstance(item, LongLine) else 0
print(content, peak() - before)
"""


def _line(number: int, padding: int = 0) -> bytes:
    event = {"type": "log", "id": str(number), "projectId": "p", "level": "info", "message": "x" * padding}
    return json.dumps({**event, "timestamp": "2024-01-01T00:00:00Z"}).encode()


@cache
def _lines(count: int) -> bytes:
    return b"".join(_line(number) + b"\n" for number in range(count))


@dataclass(kw_only=True)
class Result:
    """What came out: ids of rows in order; rejects and long lines as (line, offset, raw)."""

    rows: list[str] = field(default_factory=list)
    rejects: list[tuple[int, int, bytes]] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    long: list[tuple[int, int, bytes]] = field(default_factory=list)
    lines: int = 0
    failed: bool = False


def _items(
    path: Path, encoding: Encoding, start: int = 0, *, chunk_bytes: int = MIB, max_line: int = 16 * MIB
) -> Iterator[Read | LongLine]:
    reader = SegmentReader(start, encoding, DECODER, ORIGIN, max_line)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while chunk := file.read(chunk_bytes):
            for step in reader.feed(chunk):
                yield reader.number(file.fileno(), step)
        for step in reader.finish():
            yield reader.number(file.fileno(), step)


def _read(
    path: Path, encoding: Encoding, start: int = 0, *, chunk_bytes: int = MIB, max_line: int = 16 * MIB
) -> Result:
    result, parts = Result(), b""
    try:
        for item in _items(path, encoding, start, chunk_bytes=chunk_bytes, max_line=max_line):
            if isinstance(item, LongLine):
                parts += item.part.data
                if item.part.last:
                    result.long.append((item.line, item.part.offset, parts))
                    parts = b""
                continue
            result.lines += item.decoded.lines
            for rows in item.decoded.rows.values():
                result.rows += [json.loads(row)[ID_COLUMN] for row in rows.data.splitlines()]
            for reject in item.decoded.rejects:
                result.rejects.append((item.lines_before + reject.line, reject.offset, reject.raw))
                result.reasons.append(reject.reason)
    except CORRUPT:
        result.failed = True
    return result


def _ids(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def _zstd(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(content)


PACKERS: dict[Encoding, Callable[[bytes], bytes]] = {
    Encoding.PLAIN: bytes,
    Encoding.GZIP: gzip.compress,
    Encoding.ZSTD: _zstd,
    Encoding.BZIP2: bz2.compress,
    Encoding.XZ: partial(lzma.compress, preset=1),
}
ARCHIVES = [encoding for encoding in Encoding if encoding is not Encoding.PLAIN]
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
TEN = _lines(10)
PACKED = {
    "plain": (Encoding.PLAIN, TEN),
    "gzip": (Encoding.GZIP, gzip.compress(TEN)),
    "gzip members, cut within a line": (Encoding.GZIP, gzip.compress(TEN[:99]) + gzip.compress(TEN[99:])),
    "gzip with padding": (Encoding.GZIP, gzip.compress(TEN) + bytes(512)),
    "gzip with padding between": (Encoding.GZIP, gzip.compress(TEN[:99]) + bytes(7) + gzip.compress(TEN[99:])),
    "gzip with empty members": (Encoding.GZIP, gzip.compress(b"") * 3 + gzip.compress(TEN) + gzip.compress(b"")),
    "gzip, stored": (Encoding.GZIP, gzip.compress(TEN, 0)),
    "zstd": (Encoding.ZSTD, _zstd(TEN)),
    "zstd frames, cut within a line": (Encoding.ZSTD, _zstd(TEN[:99]) + _zstd(TEN[99:])),
    "zstd with empty frames": (Encoding.ZSTD, _zstd(b"") * 3 + _zstd(TEN) + _zstd(b"")),
    "zstd with a skippable frame": (Encoding.ZSTD, SKIPPABLE + _zstd(TEN) + SKIPPABLE),
    "bzip2": (Encoding.BZIP2, bz2.compress(TEN)),
    "bzip2 streams, cut within a line": (Encoding.BZIP2, bz2.compress(TEN[:99]) + bz2.compress(TEN[99:])),
    "bzip2 with empty streams": (Encoding.BZIP2, bz2.compress(b"") * 3 + bz2.compress(TEN) + bz2.compress(b"")),
    "xz": (Encoding.XZ, lzma.compress(TEN)),
    "xz streams, cut within a line": (Encoding.XZ, lzma.compress(TEN[:99]) + lzma.compress(TEN[99:])),
    "xz with empty streams": (Encoding.XZ, lzma.compress(b"") * 3 + lzma.compress(TEN) + lzma.compress(b"")),
    "xz with padding": (Encoding.XZ, lzma.compress(TEN[:99]) + bytes(8) + lzma.compress(TEN[99:]) + bytes(4)),
    "xz of several blocks": (Encoding.XZ, lzma.compress(TEN, preset=9)),
}


@pytest.mark.parametrize("chunk_bytes", [1, 7, MIB])
@pytest.mark.parametrize(("encoding", "content"), PACKED.values(), ids=list(PACKED))
def test_all_packings_hold_the_same_lines(encoding: Encoding, content: bytes, chunk_bytes: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert _read(tmp_path / "a", encoding, chunk_bytes=chunk_bytes) == Result(rows=_ids(10), lines=10)


@pytest.mark.parametrize("encoding", ARCHIVES)
def test_much_content_comes_out_whole(encoding: Encoding, tmp_path: Path) -> None:
    """More than one chunk packed, and much more than one chunk unpacked from a single one."""
    noise = b"".join(json.dumps({"noise": os.urandom(40).hex()}).encode() + b"\n" for _ in range(30_000))
    content = _lines(20_000) + noise
    packed = PACKERS[encoding](content)
    assert len(packed) > MIB
    (tmp_path / "a").write_bytes(packed)
    result = _read(tmp_path / "a", encoding)
    assert result.rows == _ids(20_000)
    assert [line for line, _, _ in result.rejects] == list(range(20_001, 50_001))
    assert b"".join(raw + b"\n" for _, _, raw in result.rejects) == noise


def _whole_lines(packed: bytes) -> int:
    """Return how many whole lines, blank ones left out, zlib gets out of `packed` when it is fed byte by byte."""
    member, found = zlib.decompressobj(wbits=31), b""
    with suppress(zlib.error):
        for number in packed:
            found += member.decompress(bytes([number]))
    return sum(bool(line.strip()) for line in found.split(b"\n")[:-1])


def test_a_gzip_archive_gives_its_whole_lines_wherever_it_ends(tmp_path: Path) -> None:
    packed = gzip.compress(TEN)
    for length in range(1, len(packed)):
        (tmp_path / "a").write_bytes(packed[:length])
        count = _whole_lines(packed[:length])
        assert _read(tmp_path / "a", Encoding.GZIP) == Result(rows=_ids(count), lines=count, failed=True)
    assert _whole_lines(packed[:-1]) == 10


def test_a_zstd_archive_gives_whole_lines_wherever_it_ends(tmp_path: Path) -> None:
    frames = [_zstd(_line(number) + b"\n") for number in range(5)]
    packed = b"".join(frames)
    ends = [sum(map(len, frames[: number + 1])) for number in range(5)]
    for length in range(1, len(packed)):
        (tmp_path / "a").write_bytes(packed[:length])
        result = _read(tmp_path / "a", Encoding.ZSTD)
        least = sum(end <= length for end in ends)
        assert result.rows in (_ids(least), _ids(least + 1))  # the checksum may be all that is missing
        assert result == Result(rows=result.rows, lines=len(result.rows), failed=length not in ends)


def test_a_damaged_gzip_archive_gives_what_comes_before_the_damage(tmp_path: Path) -> None:
    """It is one chunk, and zlib gives nothing of a chunk with a fault in it."""
    packed = gzip.compress(_lines(40))
    damaged = bytearray(packed)
    damaged[-8] ^= 0xFF  # the checksum
    (tmp_path / "a").write_bytes(damaged)
    assert _read(tmp_path / "a", Encoding.GZIP) == Result(rows=_ids(40), lines=40, failed=True)
    for place in range(10, len(packed), 7):
        damaged = bytearray(packed)
        damaged[place] ^= 0x55
        (tmp_path / "a").write_bytes(damaged)
        result = _read(tmp_path / "a", Encoding.GZIP)
        assert result.failed
        assert result.lines == _whole_lines(bytes(damaged))


@pytest.mark.parametrize("encoding", [Encoding.BZIP2, Encoding.XZ])
def test_an_archive_of_streams_gives_whole_lines_wherever_it_ends(encoding: Encoding, tmp_path: Path) -> None:
    streams = [PACKERS[encoding](_line(number) + b"\n") for number in range(5)]
    packed = b"".join(streams)
    ends = [sum(map(len, streams[: number + 1])) for number in range(5)]
    for length in range(1, len(packed)):
        (tmp_path / "a").write_bytes(packed[:length])
        result = _read(tmp_path / "a", encoding)
        least = sum(end <= length for end in ends)
        assert result.rows in (_ids(least), _ids(least + 1))  # the checksum may be all that is missing
        assert result == Result(rows=result.rows, lines=len(result.rows), failed=length not in ends)


@pytest.mark.parametrize("encoding", [Encoding.BZIP2, Encoding.XZ])
def test_a_damaged_archive_of_streams_gives_what_comes_before_the_damage(encoding: Encoding, tmp_path: Path) -> None:
    """All but the last 4 KiB. As with gzip, a checksum may tell too late of damage within a stream."""
    good, more = PACKERS[encoding](_lines(2000)), PACKERS[encoding](_lines(2000))
    for place in range(0, len(more), max(1, len(more) // 12)):
        damaged = bytearray(good + more)
        damaged[len(good) + place] ^= 0x55
        (tmp_path / "a").write_bytes(damaged)
        result = _read(tmp_path / "a", encoding)
        assert result.failed
        assert result.rows[:1950] == _ids(1950)
        assert result == _read(tmp_path / "a", encoding)


@pytest.mark.parametrize("content", [b"no archive", b"\n", bytes(300) + b"x", b"BZh9", b"\xfd7zXZ"])
@pytest.mark.parametrize("encoding", ARCHIVES)
def test_what_is_no_archive_fails(encoding: Encoding, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    assert _read(tmp_path / "a", encoding) == Result(failed=True)


@pytest.mark.parametrize("garbage", [b"garbage", b"\x1f\x8b", b"\x28\xb5\x2f", b"BZh9\x31", b"\xfd7zXZ\0"])
@pytest.mark.parametrize("encoding", ARCHIVES)
def test_garbage_after_an_archive_harms_no_line_of_it(encoding: Encoding, garbage: bytes, tmp_path: Path) -> None:
    packed = PACKERS[encoding](_lines(2000))
    (tmp_path / "a").write_bytes(packed + garbage)
    result = _read(tmp_path / "a", encoding, chunk_bytes=64)
    assert result.failed
    assert result.rows == _ids(2000)


def test_a_window_larger_than_we_allow_is_no_archive_to_us(tmp_path: Path) -> None:
    """Its ten bytes would cost two gigabytes of memory."""
    frame = b"\x28\xb5\x2f\xfd\x00" + bytes([21 << 3]) + b"\x01\0\0"
    (tmp_path / "a").write_bytes(frame)
    assert _read(tmp_path / "a", Encoding.ZSTD).failed
    greedy = {"id": lzma.FILTER_LZMA2, "dict_size": 256 * MIB}
    (tmp_path / "b").write_bytes(lzma.compress(TEN, filters=[greedy]))
    assert _read(tmp_path / "b", Encoding.XZ) == Result(failed=True)


@pytest.mark.parametrize("filling", [bytes(MIB), (b" " * 4095 + b"\n") * 256], ids=["one line", "many lines"])
@pytest.mark.parametrize("encoding", ARCHIVES)
def test_a_bomb_costs_no_memory(encoding: Encoding, filling: bytes, tmp_path: Path) -> None:
    size = 128 if b"\n" in filling else 512
    if encoding in {Encoding.BZIP2, Encoding.XZ}:
        size = 128  # they are slow
        packed = PACKERS[encoding](filling * 64) * (size // 64)
    elif encoding is Encoding.ZSTD:
        packer = zstandard.ZstdCompressor().compressobj()
        packed = b"".join(packer.compress(filling) for _ in range(size)) + packer.flush()
    else:
        deflate = zlib.compressobj(1, wbits=31)
        packed = b"".join(deflate.compress(filling) for _ in range(size)) + deflate.flush()
    (tmp_path / "bomb").write_bytes(packed)
    command = [sys.executable, "-c", BOMB, str(tmp_path / "bomb"), encoding.value]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content, growth_mib = map(int, done.stdout.split())
    assert content == (0 if b"\n" in filling else size * MIB)
    assert growth_mib < 64


LINES = st.lists(
    st.one_of(
        st.builds(_line, st.integers(min_value=0, max_value=99), st.integers(min_value=0, max_value=200)),
        st.sampled_from([b"", b"  ", b"\r", b"{}", b"no json", b"\xff\xfe", b"[1]", b"x" * 99, b"y" * 100, b"z" * 900]),
    ),
    max_size=12,
)


def _expected(lines: list[bytes], first: int, max_line: int) -> Result:
    """Return what a reader should make of `lines[first:]`, line by line."""
    result = Result()
    offset = sum(len(line) + 1 for line in lines[:first])
    for number, line in enumerate(lines[first:], start=first + 1):
        if len(line) > max_line:
            result.long.append((number, offset, line))
        elif line.startswith(b'{"type"'):
            result.rows.append(json.loads(line)["id"])
            result.lines += 1
        elif line.strip():
            result.rejects.append((number, offset, line))
            result.lines += 1
        offset += len(line) + 1
    return result


@given(
    lines=LINES,
    data=st.data(),
    chunk_bytes=st.sampled_from([1, 13, 100, MIB]),
    max_line=st.sampled_from([99, 100, 250, 16 * MIB]),
    ended=st.booleans(),
    encoding=st.sampled_from(list(Encoding)),
)
@settings(max_examples=150, deadline=None)
def test_every_line_has_its_number_and_offset_wherever_the_segment_starts(
    *,
    lines: list[bytes],
    data: st.DataObject,
    chunk_bytes: int,
    max_line: int,
    ended: bool,
    encoding: Encoding,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    first = data.draw(st.integers(min_value=0, max_value=len(lines))) if encoding is Encoding.PLAIN else 0
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    start = min(sum(len(line) + 1 for line in lines[:first]), len(content))
    packed = PACKERS[encoding](content)
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(packed)
    result = _read(path, encoding, start, chunk_bytes=chunk_bytes, max_line=max_line)
    result.reasons = []
    assert result == _expected(lines, first, max_line)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_second_read_gives_the_same_pieces(encoding: Encoding, tmp_path: Path) -> None:
    content = b"".join(_line(number, number % 5000) + b"\nbad\n" for number in range(2000)) + b"x" * 20_000
    packed = PACKERS[encoding](content)
    (tmp_path / "a").write_bytes(packed)
    first = list(_items(tmp_path / "a", encoding, chunk_bytes=65_536, max_line=65_536))
    assert first == list(_items(tmp_path / "a", encoding, chunk_bytes=65_536, max_line=65_536))
    assert len(first) > 10


def test_a_long_line_is_never_held_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 10 * MIB + b"\n" + _line(1))
    items = list(_items(tmp_path / "a", Encoding.PLAIN, chunk_bytes=4096, max_line=8192))
    parts = [item.part for item in items if isinstance(item, LongLine)]
    assert max(len(part.data) for part in parts) <= 8192
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(len(part.data) for part in parts) == 10 * MIB
    assert isinstance(items[-1], Read)
    assert items[-1].decoded.rows["logs"].count == 1


def test_a_last_line_without_its_end_is_a_line_if_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(_line(0) + b"\n" + _line(1))
    assert _read(tmp_path / "a", Encoding.PLAIN).rows == ["0", "1"]
    (tmp_path / "a").write_bytes(_line(0) + b"\n" + _line(1)[:-5])
    result = _read(tmp_path / "a", Encoding.PLAIN)
    assert (result.rows, result.reasons) == (["0"], [Reason.TORN])


def _shipment(instance: Instance, kind: str, contents: Sequence[bytes]) -> Shipment:
    """Return a shipment of new claimed files."""
    segments = []
    for number, content in enumerate(contents):
        place = Place(type=kind, project="p", name=f"{number}.jsonl")
        path = instance.spool / place.relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        ((_, claim),) = instance.claim([place])
        assert isinstance(claim, Claim)
        segments.append(Segment(file=instance.add(claim, 0).number, start=0, end=len(content)))
    limits = Limits(max_rows=10_000, max_insert_bytes=MIB, side_bytes=MIB, max_line=16 * MIB, project="trust")
    return Shipment(
        id="s", instance="own", type=kind, segments=tuple(segments), clock_ms=0, fingerprint="f", limits=limits
    )


def _reader(instance: Instance, executor: ThreadPoolExecutor) -> ShipmentReader:
    return ShipmentReader({"own": instance}, BUILT_IN, "", executor, disk_retry())


@pytest.mark.parametrize("files", [1, 20])
async def test_lines_of_one_byte_do_not_pile_up_in_memory(files: int, tmp_path: Path) -> None:
    """A chunk holds many of them, and all are rejected: only some are held at once."""
    content = b"x\n" * (70_000 // files)
    with closing(Instance.create(tmp_path, "own")) as instance, ThreadPoolExecutor(1) as executor:
        shipment, reader = _shipment(instance, "span", [content] * files), _reader(instance, executor)
        rejects, found = RejectFile(tmp_path, "s", 0), 0
        tracemalloc.start()
        try:
            async for some in reader.steps(shipment):
                for step in some:
                    if isinstance(step, tuple) and isinstance(step[1], Read):
                        found += len(step[1].decoded.rejects)
                        source = Source(place=instance.files[step[0].file].place, stored=step[0].end)
                        rejects.add(source, step[1].lines_before, step[1].decoded.rejects)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        rejects.finish()
    assert found == len(content) // 2 * files
    assert peak < 14 * MIB
    kept = tmp_path / layout.rejected_path("s", 0)
    assert kept.stat().st_size < 4 * len(content) * files  # nothing else runs


@pytest.mark.parametrize("ask", ["locate", "locate_rows"])
async def test_the_event_loop_goes_on_while_lines_are_found(ask: str, tmp_path: Path) -> None:
    """Each line of a piece is decoded alone then, and many rows may have been refused."""
    content, turns = _lines(6000), count()

    async def turn() -> None:
        for _ in turns:
            await asyncio.sleep(0)

    with closing(Instance.create(tmp_path, "own")) as instance, ThreadPoolExecutor(1) as executor:
        shipment = _shipment(instance, "log", [content])
        reader = _reader(instance, executor)
        table, turning = BUILT_IN["log"].table.name, asyncio.create_task(turn())
        if ask == "locate":
            found = [line.raw async for _, _, line in reader.locate(shipment, table, 0, range(6000))]
            assert found == content.splitlines()
        else:
            rows = [part async for _, name, part in reader.locate_rows(shipment, 0, {(1, 0)}) if name == table]
            assert rows == [RowRange(first=0, end=1)]
        turning.cancel()
    assert next(turns) > 100  # a handful, where the loop does the work itself
