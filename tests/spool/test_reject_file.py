"""The file of a shipment's rejected lines: nothing half-written, every byte kept, a replay overwrites it."""

import base64
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from spoolhouse.decode.reject import Reason, Reject
from spoolhouse.spool import layout
from spoolhouse.spool.layout import Place
from spoolhouse.spool.line_spans import Span, spans_of
from spoolhouse.spool.reject_file import RejectFile, Source

CLOCK_MS = 1_700_000_000_000
FOLDER = "rejected/2023-11-14"
NAME = f"{FOLDER}/s.jsonl"


@pytest.fixture
def rejects(tmp_path: Path) -> RejectFile:
    return RejectFile(tmp_path, "s", CLOCK_MS)


def _reject(raw: bytes, line: int = 1, offset: int = 0) -> Reject:
    return Reject(line=line, offset=offset, reason=Reason.WRONG_TYPE, field="name", detail="not text", raw=raw)


def _source(name: str) -> Source:
    return Source(place=Place(type="span", project="p", name=name), stored=1 << 20)


def _found(spool: Path) -> set[str]:
    return {str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file()}


def _records(spool: Path) -> list[dict[str, object]]:
    content = (spool / NAME).read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def test_the_path_is_that_of_the_shipment_and_its_clock(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add(_source("a.jsonl"), 0, [_reject(b"x")])
    rejects.finish()
    assert _found(tmp_path) == {NAME} == {str(layout.rejected_path("s", CLOCK_MS))}


def test_a_record_says_what_where_and_why(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add(_source("a.jsonl"), 10, [_reject(b'{"name": 1}', line=3, offset=99), _reject(b"", line=4, offset=111)])
    rejects.add(_source("b.jsonl"), 0, [_reject("ü\u2028\0🙂".encode())])
    rejects.finish()
    time = {"time": "2023-11-14T22:13:20.000+00:00"}
    reason = {"reason": "wrong_type", "field": "name", "detail": "not text"}
    assert _records(tmp_path) == [
        {"file": "span/p/a.jsonl", **time, "line": 13, "offset": 99, **reason, "raw": '{"name": 1}'},
        {"file": "span/p/a.jsonl", **time, "line": 14, "offset": 111, **reason, "raw": ""},
        {"file": "span/p/b.jsonl", **time, "line": 1, "offset": 0, **reason, "raw": "ü\u2028\0🙂"},
    ]


@pytest.mark.parametrize("raw", [b"\xff", bytes(range(256)), b"\xed\xa0\x80", b"\xc3"])
def test_bytes_that_are_no_text_are_kept_as_they_were(raw: bytes, rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add(_source("a"), 0, [_reject(raw)])
    rejects.finish()
    (record,) = _records(tmp_path)
    assert "raw" not in record
    assert base64.b64decode(str(record["raw_base64"])) == raw


def test_words_that_are_no_unicode_can_be_written(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add(
        _source("\udcff"),
        0,
        [Reject(line=1, offset=0, reason=Reason.BAD_TIME, field="\ud800", detail="\udfff", raw=b"x")],
    )
    rejects.finish()
    assert len(_records(tmp_path)) == 1


def test_nothing_is_made_without_a_reject(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add(_source("a"), 0, [])
    rejects.finish()
    rejects.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_too_long_is_kept_beside(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add(_source("a"), 0, [_reject(b"x")])
    for part in (b"one", b"\xff", b"", b"two"):
        rejects.add_long_part(_source("a"), part, 1 << 20)
    rejects.end_long(_source("a"), 7, 70)
    rejects.add_long_part(_source("b"), b"three", 1 << 20)
    rejects.end_long(_source("b"), 8, 80)
    rejects.finish()
    reason = {"reason": "too_long", "field": "", "detail": "longer than spool.max_line"}
    for record, expected in zip(
        _records(tmp_path)[1:], [(b"one\xfftwo", "a", 7, 70), (b"three", "b", 8, 80)], strict=True
    ):
        content, name, line, offset = expected
        told = {"file": f"span/p/{name}", "line": line, "offset": offset, "length": len(content), **reason}
        assert told.items() <= record.items()
        assert record["sha256"] == hashlib.sha256(content).hexdigest()
        assert list(spans_of(str(record["spans"]))) == [Span(line=line, lines=1, offset=offset, length=len(content))]
    assert [record["raw_file"] for record in _records(tmp_path)[1:]] == ["s.0.line", "s.1.line"]
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"one\xfftwo"
    assert (tmp_path / FOLDER / "s.1.line").read_bytes() == b"three"
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line", f"{FOLDER}/s.1.line"}


def test_nothing_has_its_name_before_all_of_it_is_there(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add_long_part(_source("a"), b"x", 1 << 20)
    rejects.end_long(_source("a"), 1, 0)
    rejects.add(_source("a"), 1, [_reject(b"y")])
    assert all(Path(path).name.startswith(".") for path in _found(tmp_path))
    rejects.finish()
    assert not any(Path(path).name.startswith(".") for path in _found(tmp_path))


@pytest.mark.parametrize("steps", range(5))
def test_an_abort_leaves_nothing(steps: int, rejects: RejectFile, tmp_path: Path) -> None:
    work: list[Callable[[], object]] = [
        lambda: rejects.add(_source("a"), 0, [_reject(b"x")]),
        lambda: rejects.add_long_part(_source("a"), b"x", 1 << 20),
        lambda: rejects.end_long(_source("a"), 1, 0),
        lambda: rejects.add_long_part(_source("a"), b"y", 1 << 20),
    ]
    for step in work[:steps]:
        step()
    rejects.abort()
    rejects.abort()
    assert _found(tmp_path) == set()


def test_an_abort_after_the_end_changes_nothing(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add_long_part(_source("a"), b"x", 1 << 20)
    rejects.end_long(_source("a"), 1, 0)
    rejects.finish()
    before = _found(tmp_path)
    rejects.abort()
    assert _found(tmp_path) == before == {NAME, f"{FOLDER}/s.0.line"}


def test_a_line_whose_end_never_came_leaves_nothing(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add_long_part(_source("a"), b"x", 1 << 20)
    rejects.finish()
    rejects.abort()
    assert _found(tmp_path) == set()


def test_a_line_whose_end_never_came_does_not_run_into_the_next(rejects: RejectFile, tmp_path: Path) -> None:
    """Its archive was damaged, and another file of the shipment has a long line, too."""
    rejects.add_long_part(_source("a"), b"lost", 1 << 20)
    rejects.drop_long()
    rejects.drop_long()
    rejects.add_long_part(_source("a"), b"kept", 1 << 20)
    rejects.end_long(_source("b"), 1, 0)
    rejects.finish()
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"kept"
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line"}


def test_a_replay_overwrites(tmp_path: Path) -> None:
    for content in (b"first, and longer", b"second"):
        rejects = RejectFile(tmp_path, "s", CLOCK_MS)
        rejects.add(_source("a"), 0, [_reject(content)])
        rejects.add_long_part(_source("a"), content, 1 << 20)
        rejects.end_long(_source("a"), 2, 20)
        rejects.finish()
    assert [record.get("raw") for record in _records(tmp_path)] == ["second", None]
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"second"


def test_a_replay_that_is_given_up_changes_nothing(tmp_path: Path) -> None:
    first = RejectFile(tmp_path, "s", CLOCK_MS)
    first.add_long_part(_source("a"), b"first", 1 << 20)
    first.end_long(_source("a"), 1, 0)
    first.finish()
    before = (tmp_path / NAME).read_bytes()
    second = RejectFile(tmp_path, "s", CLOCK_MS)
    second.add_long_part(_source("a"), b"second", 1 << 20)
    second.end_long(_source("a"), 1, 0)
    second.abort()
    assert (tmp_path / NAME).read_bytes() == before
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"first"
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line"}


def test_what_a_killed_process_left_half_written_is_overwritten(tmp_path: Path) -> None:
    killed = RejectFile(tmp_path, "s", CLOCK_MS)
    killed.add(_source("a"), 0, [_reject(b"a" * 10_000)])
    killed.add_long_part(_source("a"), b"b" * 10_000, 1 << 20)
    rejects = RejectFile(tmp_path, "s", CLOCK_MS)
    rejects.add(_source("a"), 0, [_reject(b"x")])
    rejects.add_long_part(_source("a"), b"y", 1 << 20)
    rejects.end_long(_source("a"), 2, 0)
    rejects.finish()
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line"}
    assert len(_records(tmp_path)) == 2
    killed.abort()


def test_shipments_do_not_meet(tmp_path: Path) -> None:
    for name in ("s", "t"):
        rejects = RejectFile(tmp_path, name, CLOCK_MS)
        rejects.add_long_part(_source("a"), name.encode(), 1 << 20)
        rejects.end_long(_source("a"), 1, 0)
        rejects.finish()
    assert _found(tmp_path) == {f"{FOLDER}/{name}" for name in ("s.jsonl", "s.0.line", "t.jsonl", "t.0.line")}


def test_no_descriptor_is_left_open(rejects: RejectFile) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count of names
    rejects.add(_source("a"), 0, [_reject(b"x")])
    rejects.add_long_part(_source("a"), b"x", 1 << 20)
    rejects.finish()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names are enough


def test_many_short_neighbours_share_a_record_which_holds_every_byte(rejects: RejectFile, tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % (number % 7) for number in range(5000))
    lines = [
        replace(_reject(raw), line=number + 1, offset=2 * number) for number, raw in enumerate(content.splitlines())
    ]
    rejects.add(_source("a"), 100, lines)
    rejects.finish()
    records = _records(tmp_path)
    assert len(records) < 10
    assert sum(int(str(record["lines"])) for record in records) == len(lines)
    assert b"".join(str(record["raw"]).encode() + b"\n" for record in records) == content
    for record in records:
        assert content[int(str(record["offset"])) :].startswith(str(record["raw"]).encode())
        assert int(str(record["line"])) - 101 == int(str(record["offset"])) // 2


@pytest.mark.parametrize("breach", ["another reason", "a gap", "a carriage return", "longer lines", "few"])
def test_only_many_short_neighbours_of_one_reason_share_a_record(
    breach: str, rejects: RejectFile, tmp_path: Path
) -> None:
    raw = b"x" * 100 if breach == "longer lines" else b"x"
    step = len(raw) + 1 + (breach in {"a gap", "a carriage return"})
    lines = [
        replace(_reject(raw), line=number + 1, offset=step * number) for number in range(5 if breach == "few" else 40)
    ]
    if breach == "another reason":
        lines = [replace(line, detail=str(line.line % 2)) for line in lines]
    if breach == "a gap":
        lines = [replace(line, line=2 * line.line) for line in lines]
    rejects.add(_source("a"), 0, lines)
    rejects.finish()
    assert [record["line"] for record in _records(tmp_path)] == [line.line for line in lines]
    assert not any("lines" in record for record in _records(tmp_path))


def test_what_a_full_disk_cut_off_is_written_again(
    rejects: RejectFile, tmp_path: Path, arm: Callable[[str], None]
) -> None:
    """A write that failed half-way counts for nothing, however often: each record stands there once."""
    many = [replace(_reject(b"y" * 100), line=number, offset=200 * number) for number in range(1000)]
    rejects.add(_source("a"), 0, [_reject(b"first")])
    arm("rejects.write@3=ENOSPC")
    for _ in range(2):
        with suppress(OSError):
            rejects.add(_source("a"), 0, many)
    rejects.finish()
    assert [record["raw"] for record in _records(tmp_path)] == ["first"] + ["y" * 100] * 1000


@pytest.mark.parametrize("place", ["rejects.sync", "rejects.rename", "rejects.rename_long", "files.sync_folder"])
def test_an_end_that_the_disk_refused_can_be_tried_again(
    place: str, rejects: RejectFile, tmp_path: Path, arm: Callable[[str], None]
) -> None:
    rejects.add(_source("a"), 0, [_reject(b"x")])
    for part in (b"one", b"two"):
        rejects.add_long_part(_source("a"), part, 1 << 20)
        rejects.end_long(_source("a"), 1, 0)
    arm(f"{place}=EIO")
    with pytest.raises(OSError, match="Input/output"):
        rejects.finish()
    rejects.finish()
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line", f"{FOLDER}/s.1.line"}
    assert len(_records(tmp_path)) == 3


def test_of_a_long_line_only_so_much_is_kept(rejects: RejectFile, tmp_path: Path) -> None:
    """Not more than it may be long, and all together not more than the source allows."""
    small = Source(place=_source("a").place, stored=4096)
    for number in range(10):
        for _ in range(4):
            rejects.add_long_part(small, b"x" * 9000, 10_000)
        rejects.end_long(small, number + 1, number * 36_001)
    rejects.finish()
    kept = [path.stat().st_size for path in (tmp_path / FOLDER).glob("*.line")]
    assert max(kept) == 10_000
    assert sum(kept) <= small.allowance
    assert [record["length"] for record in _records(tmp_path)] == [36_000] * 10
    assert sum("raw_file" in record for record in _records(tmp_path)) == len(kept) < 10


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_left_out_is_recorded_once_although_the_disk_refused(
    count: int, rejects: RejectFile, tmp_path: Path, arm: Callable[[str], None]
) -> None:
    small = Source(place=_source("a").place, stored=1)
    lines = [replace(_reject(b"%d" % number), line=number + 1, offset=number * 10) for number in range(5000)]
    arm(f"rejects.write@{count}=ENOSPC")
    left_out = 0
    for low in range(0, len(lines), 1000):
        try:
            left_out += rejects.add(small, 0, lines[low : low + 1000])
        except OSError:
            left_out += rejects.add(small, 0, lines[low : low + 1000])
    with suppress(OSError):
        rejects.finish()
    rejects.finish()
    kept = [record for record in _records(tmp_path) if "raw" in record]
    (other,) = [record for record in _records(tmp_path) if "spans" in record]
    assert len(kept) + left_out == len(lines)
    assert other["lines"] == left_out
    missing = [line for line in lines if line.raw.decode() not in {record["raw"] for record in kept}]
    assert [(span.line, span.offset) for span in spans_of(str(other["spans"]))] == [
        (line.line, line.offset) for line in missing
    ]
    assert other["sha256"] == hashlib.sha256(b"\n".join(line.raw for line in missing)).hexdigest()
