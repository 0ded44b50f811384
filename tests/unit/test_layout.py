"""The names of a spool's folders and files."""

import os
from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.spool import layout
from spoolhouse.spool.layout import Encoding, Place

LONGEST_NAME = 255
NAMES = st.binary(min_size=1, max_size=60).filter(lambda raw: not {0, 0x2F} & set(raw) and raw not in {b".", b".."})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1_a.jsonl", Encoding.PLAIN),
        ("1_a.jsonl.gz", Encoding.GZIP),
        ("1_a.json.zst", Encoding.ZSTD),
        ("a.ndjson.bz2", Encoding.BZIP2),
        ("a.log.xz", Encoding.XZ),
        ("A.JSONL.GZ", Encoding.GZIP),
        ("a.gz.jsonl", Encoding.PLAIN),
        ("a.gz", Encoding.GZIP),
        ("gz", Encoding.PLAIN),
        ("x.txt", Encoding.PLAIN),
        ("", Encoding.PLAIN),
    ],
)
def test_the_end_of_a_name_tells_how_the_file_is_packed(name: str, expected: Encoding) -> None:
    assert layout.encoding(name) is expected
    assert Place(type="span", project="p", name=name).encoding is expected


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("a.jsonl", 0, "a.jsonl"),
        ("a.jsonl", 1, "a.1.jsonl"),
        ("a.jsonl.gz", 12, "a.12.jsonl.gz"),
        ("a.jsonl.zst", 3, "a.3.jsonl.zst"),
        ("a.1.jsonl", 1, "a.1.1.jsonl"),
        ("a.txt", 1, "a.1.txt"),
        ("a.LOG.XZ", 1, "a.1.LOG.XZ"),
        ("a.log.3", 1, "a.log.3.1"),
        ("a", 2, "a.2"),
        ("a.gz", 2, "a.2.gz"),
        ("\udcff.jsonl", 1, "\udcff.1.jsonl"),
    ],
)
def test_a_number_stands_before_the_suffix(name: str, number: int, expected: str) -> None:
    assert layout.numbered(name, number) == expected


@given(
    NAMES,
    st.sampled_from([".jsonl", ".jsonl.gz", ".ndjson.zst", ".json.BZ2", ".log.xz", ""]),
    st.integers(min_value=1, max_value=10**6),
)
def test_a_numbered_name_is_packed_as_the_name_itself(raw: bytes, suffix: str, number: int) -> None:
    name = os.fsdecode(raw) + suffix
    assert layout.encoding(layout.numbered(name, number)) is layout.encoding(name)
    assert layout.numbered(name, number) not in {name, layout.numbered(name, number + 1)}
    assert name in layout.unnumbered(layout.numbered(name, number))


@pytest.mark.parametrize("letter", ["a", "ü", "字", "🙂", "\udcff"])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_numbered_name_still_fits_on_a_disk(letter: str, suffix: str, tmp_path: Path) -> None:
    """The longest name that can be dropped can be dropped twice, and its double cut at a whole character."""
    stem = letter * ((LONGEST_NAME - len(suffix)) // len(os.fsencode(letter)))
    name = layout.numbered(stem + suffix, 1)
    (tmp_path / name).touch()
    assert set(name.removesuffix(f".1{suffix}")) == {letter}


@given(st.binary(min_size=1, max_size=LONGEST_NAME), st.sampled_from(["", ".1.jsonl", ".reason.txt"]))
def test_an_extended_name_keeps_its_ending_and_the_limit(raw: bytes, ending: str) -> None:
    name = os.fsdecode(raw)
    extended = layout.extended(name, ending)
    assert extended.endswith(ending)
    assert name.startswith(extended.removesuffix(ending))
    assert len(os.fsencode(extended)) <= LONGEST_NAME
    if len(raw) + len(ending) <= LONGEST_NAME:
        assert extended == name + ending


def test_what_is_rejected_goes_to_one_path_however_often_it_is_replayed() -> None:
    """The day is that of the shipment's clock, in UTC, not that of the replay."""
    path = layout.rejected_path("0b7f", 1_700_000_000_000)
    assert path == PurePath("rejected/2023-11-14/0b7f.jsonl")
    assert layout.rejected_path("0b7f", 1_700_000_000_000) == path
    assert layout.rejected_path("0b7f", 1_700_006_400_000) == PurePath("rejected/2023-11-15/0b7f.jsonl")


def test_a_file_ends_beside_where_it_was_dropped() -> None:
    place = Place(type="span", project="p", name="a.jsonl")
    assert place.relative == PurePath("span/p/a.jsonl")
    assert layout.final_folder(place, failed=False) == PurePath("span/p/processed")
    assert layout.final_folder(place, failed=True) == PurePath("span/p/failed")


@given(NAMES, NAMES)
def test_a_place_can_be_printed_whatever_its_bytes_are(project: bytes, name: bytes) -> None:
    place = Place(type="span", project=os.fsdecode(project), name=os.fsdecode(name))
    assert os.fsencode(place.relative) == b"span/" + project + b"/" + name
    str(place).encode()


def test_names_of_different_bytes_print_differently() -> None:
    printed = {str(Place(type="span", project="p", name=os.fsdecode(raw))) for raw in (b"\xff", b"\xfe", b"\xc3\xbf")}
    assert printed == {"span/p/\\xff", "span/p/\\xfe", "span/p/ÿ"}
