"""The file of a shipment's rejected lines: nothing half-written, every byte kept, a replay overwrites it."""

import base64
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from spoolhouse.core.reject import Reason, Reject
from spoolhouse.spool import layout
from spoolhouse.spool.rejects import RejectFile
from tests.integration.armed import arm

CLOCK_MS = 1_700_000_000_000
FOLDER = "rejected/2023-11-14"
NAME = f"{FOLDER}/s.jsonl"


@pytest.fixture
def rejects(tmp_path: Path) -> RejectFile:
    return RejectFile(tmp_path, "s", CLOCK_MS)


def _reject(raw: bytes, line: int = 1, offset: int = 0) -> Reject:
    return Reject(line=line, offset=offset, reason=Reason.WRONG_TYPE, field="name", detail="not text", raw=raw)


def _found(spool: Path) -> set[str]:
    return {str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file()}


def _records(spool: Path) -> list[dict[str, object]]:
    content = (spool / NAME).read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def test_the_path_is_that_of_the_shipment_and_its_clock(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add("span/p/a.jsonl", 0, [_reject(b"x")])
    rejects.finish()
    assert _found(tmp_path) == {NAME} == {str(layout.rejected_path("s", CLOCK_MS))}


def test_a_record_says_what_where_and_why(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add("span/p/a.jsonl", 10, [_reject(b'{"name": 1}', line=3, offset=99), _reject(b"", line=4, offset=111)])
    rejects.add("span/p/b.jsonl", 0, [_reject("ü\u2028\0🙂".encode())])
    rejects.finish()
    reason = {"reason": "wrong_type", "field": "name", "detail": "not text"}
    assert _records(tmp_path) == [
        {"file": "span/p/a.jsonl", "line": 13, "offset": 99, **reason, "raw": '{"name": 1}'},
        {"file": "span/p/a.jsonl", "line": 14, "offset": 111, **reason, "raw": ""},
        {"file": "span/p/b.jsonl", "line": 1, "offset": 0, **reason, "raw": "ü\u2028\0🙂"},
    ]


@pytest.mark.parametrize("raw", [b"\xff", bytes(range(256)), b"\xed\xa0\x80", b"\xc3"])
def test_bytes_that_are_no_text_are_kept_as_they_were(raw: bytes, rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add("a", 0, [_reject(raw)])
    rejects.finish()
    (record,) = _records(tmp_path)
    assert "raw" not in record
    assert base64.b64decode(str(record["raw_base64"])) == raw


def test_words_that_are_no_unicode_can_be_written(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add(
        "\udcff", 0, [Reject(line=1, offset=0, reason=Reason.BAD_TIME, field="\ud800", detail="\udfff", raw=b"x")]
    )
    rejects.finish()
    assert len(_records(tmp_path)) == 1


def test_nothing_is_made_without_a_reject(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add("a", 0, [])
    rejects.finish()
    rejects.abort()
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_too_long_is_kept_beside(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add("a", 0, [_reject(b"x")])
    for part in (b"one", b"\xff", b"", b"two"):
        rejects.add_long_part(part)
    rejects.end_long("a", 7, 70)
    rejects.add_long_part(b"three")
    rejects.end_long("b", 8, 80)
    rejects.finish()
    reason = {"reason": "too_long", "field": "", "detail": "longer than spool.max_line"}
    assert _records(tmp_path)[1:] == [
        {"file": "a", "line": 7, "offset": 70, **reason, "raw_file": "s.0.line"},
        {"file": "b", "line": 8, "offset": 80, **reason, "raw_file": "s.1.line"},
    ]
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"one\xfftwo"
    assert (tmp_path / FOLDER / "s.1.line").read_bytes() == b"three"
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line", f"{FOLDER}/s.1.line"}


def test_nothing_has_its_name_before_all_of_it_is_there(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add_long_part(b"x")
    rejects.end_long("a", 1, 0)
    rejects.add("a", 1, [_reject(b"y")])
    assert all(Path(path).name.startswith(".") for path in _found(tmp_path))
    rejects.finish()
    assert not any(Path(path).name.startswith(".") for path in _found(tmp_path))


@pytest.mark.parametrize("steps", range(5))
def test_an_abort_leaves_nothing(steps: int, rejects: RejectFile, tmp_path: Path) -> None:
    work: list[Callable[[], None]] = [
        lambda: rejects.add("a", 0, [_reject(b"x")]),
        lambda: rejects.add_long_part(b"x"),
        lambda: rejects.end_long("a", 1, 0),
        lambda: rejects.add_long_part(b"y"),
    ]
    for step in work[:steps]:
        step()
    rejects.abort()
    rejects.abort()
    assert _found(tmp_path) == set()


def test_an_abort_after_the_end_changes_nothing(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add_long_part(b"x")
    rejects.end_long("a", 1, 0)
    rejects.finish()
    before = _found(tmp_path)
    rejects.abort()
    assert _found(tmp_path) == before == {NAME, f"{FOLDER}/s.0.line"}


def test_a_line_whose_end_never_came_leaves_nothing(rejects: RejectFile, tmp_path: Path) -> None:
    rejects.add_long_part(b"x")
    rejects.finish()
    rejects.abort()
    assert _found(tmp_path) == set()


def test_a_line_whose_end_never_came_does_not_run_into_the_next(rejects: RejectFile, tmp_path: Path) -> None:
    """Its archive was damaged, and another file of the shipment has a long line, too."""
    rejects.add_long_part(b"lost")
    rejects.drop_long()
    rejects.drop_long()
    rejects.add_long_part(b"kept")
    rejects.end_long("b", 1, 0)
    rejects.finish()
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"kept"
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line"}


def test_a_replay_overwrites(tmp_path: Path) -> None:
    for content in (b"first, and longer", b"second"):
        rejects = RejectFile(tmp_path, "s", CLOCK_MS)
        rejects.add("a", 0, [_reject(content)])
        rejects.add_long_part(content)
        rejects.end_long("a", 2, 20)
        rejects.finish()
    assert [record.get("raw") for record in _records(tmp_path)] == ["second", None]
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"second"


def test_a_replay_that_is_given_up_changes_nothing(tmp_path: Path) -> None:
    first = RejectFile(tmp_path, "s", CLOCK_MS)
    first.add_long_part(b"first")
    first.end_long("a", 1, 0)
    first.finish()
    before = (tmp_path / NAME).read_bytes()
    second = RejectFile(tmp_path, "s", CLOCK_MS)
    second.add_long_part(b"second")
    second.end_long("a", 1, 0)
    second.abort()
    assert (tmp_path / NAME).read_bytes() == before
    assert (tmp_path / FOLDER / "s.0.line").read_bytes() == b"first"
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line"}


def test_what_a_killed_process_left_half_written_is_overwritten(tmp_path: Path) -> None:
    killed = RejectFile(tmp_path, "s", CLOCK_MS)
    killed.add("a", 0, [_reject(b"a" * 10_000)])
    killed.add_long_part(b"b" * 10_000)
    rejects = RejectFile(tmp_path, "s", CLOCK_MS)
    rejects.add("a", 0, [_reject(b"x")])
    rejects.add_long_part(b"y")
    rejects.end_long("a", 2, 0)
    rejects.finish()
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line"}
    assert len(_records(tmp_path)) == 2
    killed.abort()


def test_shipments_do_not_meet(tmp_path: Path) -> None:
    for name in ("s", "t"):
        rejects = RejectFile(tmp_path, name, CLOCK_MS)
        rejects.add_long_part(name.encode())
        rejects.end_long("a", 1, 0)
        rejects.finish()
    assert _found(tmp_path) == {f"{FOLDER}/{name}" for name in ("s.jsonl", "s.0.line", "t.jsonl", "t.0.line")}


def test_no_descriptor_is_left_open(rejects: RejectFile) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count of names
    rejects.add("a", 0, [_reject(b"x")])
    rejects.add_long_part(b"x")
    rejects.finish()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # names are enough


def test_many_short_neighbours_share_a_record_which_holds_every_byte(rejects: RejectFile, tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % (number % 7) for number in range(5000))
    lines = [
        replace(_reject(raw), line=number + 1, offset=2 * number) for number, raw in enumerate(content.splitlines())
    ]
    rejects.add("a", 100, lines)
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
    rejects.add("a", 0, lines)
    rejects.finish()
    assert [record["line"] for record in _records(tmp_path)] == [line.line for line in lines]
    assert not any("lines" in record for record in _records(tmp_path))


def test_what_a_full_disk_cut_off_is_written_again(
    rejects: RejectFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that failed half-way counts for nothing, however often: each record stands there once."""
    many = [replace(_reject(b"y" * 100), line=number, offset=200 * number) for number in range(1000)]
    rejects.add("a", 0, [_reject(b"first")])
    arm(monkeypatch, "rejects.write@3=ENOSPC")
    for _ in range(2):
        with suppress(OSError):
            rejects.add("a", 0, many)
    rejects.finish()
    assert [record["raw"] for record in _records(tmp_path)] == ["first"] + ["y" * 100] * 1000


@pytest.mark.parametrize("place", ["rejects.sync", "rejects.rename", "rejects.rename_long", "files.sync_folder"])
def test_an_end_that_the_disk_refused_can_be_tried_again(
    place: str, rejects: RejectFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejects.add("a", 0, [_reject(b"x")])
    for part in (b"one", b"two"):
        rejects.add_long_part(part)
        rejects.end_long("a", 1, 0)
    arm(monkeypatch, f"{place}=EIO")
    with pytest.raises(OSError, match="Input/output"):
        rejects.finish()
    rejects.finish()
    assert _found(tmp_path) == {NAME, f"{FOLDER}/s.0.line", f"{FOLDER}/s.1.line"}
    assert len(_records(tmp_path)) == 3
