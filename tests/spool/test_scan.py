"""What a scan sees, what it calls strange, and where it does not look."""

import os
import socket
from itertools import product
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.pipeline.scan import Ignored, Seen, has_other_than, scan
from spoolhouse.spool.layout import Place
from tests.spool.nobody import as_nobody

TYPES = ("span", "log")


def _drop(spool: Path, path: str, content: bytes = b"{}\n", *, old: bool = True) -> Path:
    file = spool / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    if old:
        os.utime(file, (1, 1))
    return file


def _scan(spool: Path, project_id: str | None = None) -> tuple[set[str], dict[str, str]]:
    """Return the paths that are seen, and the strange ones with their reasons."""
    found = list(scan(spool, TYPES, project_id))
    seen = [str(item.place) for item in found if isinstance(item, Seen)]
    assert len(set(seen)) == len(seen)
    strange = [item for item in found if isinstance(item, Ignored)]
    return set(seen), {os.path.relpath(item.path, spool): item.reason for item in strange}


def test_files_are_seen_at_their_place_with_size_and_time(spool: Path) -> None:
    file = _drop(spool, "span/p/a.jsonl", b"12345")
    place = Place(type="span", project="p", name="a.jsonl")
    assert list(scan(spool, TYPES, None)) == [Seen(place=place, size=5, mtime_ns=file.stat().st_mtime_ns)]


def test_all_packings_and_all_names_are_seen(spool: Path) -> None:
    names = [
        f"a{number}.{name}{packed}"
        for number, (name, packed) in enumerate(
            product(("jsonl", "ndjson", "json", "log", "JSON"), ("", ".gz", ".zst", ".bz2", ".xz", ".GZ"))
        )
    ]
    names += ["a.jsonl", "a.json", "a b\n.jsonl", os.fsdecode(b"\xff.jsonl"), "-rf.jsonl"]
    for name in names:
        _drop(spool, f"log/q/{name}")
    found = [item.place.name for item in scan(spool, TYPES, None) if isinstance(item, Seen)]
    assert sorted(found) == sorted(names)


def test_an_empty_or_missing_spool_has_nothing(spool: Path) -> None:
    assert list(scan(spool, TYPES, None)) == []
    assert list(scan(spool / "missing", TYPES, None)) == []


def test_hidden_and_temporary_files_are_passed_over_in_silence(spool: Path) -> None:
    for name in (".a.jsonl", "a.jsonl.tmp", "a.jsonl.part", "a.jsonl~", "a.jsonl.swp", ".a.jsonl.x7Hq"):
        _drop(spool, f"span/p/{name}")
    _drop(spool, "span/.hidden/a.jsonl")
    _drop(spool, ".hidden/p/a.jsonl")
    _drop(spool, ".DS_Store")
    assert _scan(spool) == (set(), {})


def test_our_own_folders_are_not_looked_into(spool: Path) -> None:
    for folder in (".spoolhouse/i/claimed/span", "rejected/2024-01-01", "span/p/processed", "span/p/failed"):
        _drop(spool, f"{folder}/a.jsonl")
    assert _scan(spool) == (set(), {})


def test_archives_are_not_even_opened(spool: Path) -> None:
    """They hold years of files; each look at them would cost more than the one before."""
    _drop(spool, "span/p/a.jsonl")
    for archive in ("span/p/processed", "span/p/failed", "rejected", ".spoolhouse"):
        (spool / archive).mkdir(parents=True)
        (spool / archive).chmod(0)
    with as_nobody(spool), capture_logs() as logs:
        assert _scan(spool) == ({"span/p/a.jsonl"}, {})
    assert logs == []


@pytest.mark.parametrize("project", ["processed", "failed", "rejected", "claimed", "span", " ", "\N{SNOWMAN}"])
def test_a_project_may_have_any_name(project: str, spool: Path) -> None:
    _drop(spool, f"span/{project}/a.jsonl")
    _drop(spool, f"span/{project}/processed/b.jsonl")
    assert _scan(spool) == ({f"span/{project}/a.jsonl"}, {})


def test_only_the_asked_for_project_is_seen(spool: Path) -> None:
    for project in ("p", "P", "q"):
        _drop(spool, f"span/{project}/a.jsonl")
    assert _scan(spool, "p") == ({"span/p/a.jsonl"}, {})


def test_what_lies_in_the_wrong_place_is_strange(spool: Path) -> None:
    for path in ("a.jsonl", "span/a.jsonl", "span/p/deep/a.jsonl", "nonsense/p/a.jsonl", "Span/p/a.jsonl"):
        _drop(spool, path)
    depth, unknown = "not at {type}/{project}/", "no such event type"
    assert _scan(spool) == (
        set(),
        {"a.jsonl": depth, "span/a.jsonl": depth, "span/p/deep": depth, "nonsense": unknown, "Span": unknown},
    )


def test_what_is_no_regular_file_is_strange(spool: Path) -> None:
    secret = _drop(spool.parent, "secret.jsonl")
    folder = _drop(spool, "span/p/a.jsonl").parent
    (folder / "link.jsonl").symlink_to(secret.absolute())
    (folder / "dangling.jsonl").symlink_to("nowhere")
    (folder / "folder.jsonl").mkdir()
    os.mkfifo(folder / "fifo.jsonl")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket.jsonl"))
        seen, strange = _scan(spool)
    assert seen == {"span/p/a.jsonl"}
    names = ("link", "dangling", "folder", "fifo", "socket")
    assert strange == {f"span/p/{name}.jsonl": "not a regular file" for name in names}


@pytest.mark.parametrize("place", ["span", "span/p"])
def test_no_link_to_a_folder_is_followed(place: str, spool: Path) -> None:
    _drop(spool.parent, "outside/p/a.jsonl")
    _drop(spool.parent, "outside/a.jsonl")
    (spool / place).parent.mkdir(exist_ok=True)
    (spool / place).symlink_to((spool.parent / "outside").absolute())
    assert _scan(spool) == (set(), {place: "not at {type}/{project}/"})


def test_a_file_that_goes_away_during_the_scan_is_passed_over(spool: Path) -> None:
    for number in range(3):
        _drop(spool, f"span/p/{number}.jsonl")
    found = scan(spool, TYPES, None)
    first = next(found)
    assert isinstance(first, Seen)
    for path in (spool / "span/p").iterdir():
        path.unlink()
    assert list(found) == []


def test_a_folder_that_goes_away_during_the_scan_is_passed_over(spool: Path) -> None:
    for project in ("p", "q"):
        _drop(spool, f"span/{project}/a.jsonl")
    found = scan(spool, TYPES, None)
    first = next(found)
    assert isinstance(first, Seen)
    (other,) = {"p", "q"} - {first.place.project}
    (spool / "span" / other / "a.jsonl").unlink()
    (spool / "span" / other).rmdir()
    assert list(found) == []


def test_a_folder_that_becomes_a_file_during_the_scan_is_passed_over(spool: Path) -> None:
    for project in ("p", "q"):
        _drop(spool, f"span/{project}/a.jsonl")
    found = scan(spool, TYPES, None)
    first = next(found)
    assert isinstance(first, Seen)
    (other,) = {"p", "q"} - {first.place.project}
    (spool / "span" / other / "a.jsonl").unlink()
    (spool / "span" / other).rmdir()
    (spool / "span" / other).touch()
    assert [item for item in found if isinstance(item, Seen)] == []


def test_a_folder_that_cannot_be_read_hides_no_other(spool: Path) -> None:
    _drop(spool, "span/p/a.jsonl")
    _drop(spool, "span/q/a.jsonl").parent.chmod(0)
    with as_nobody(spool):
        seen = _scan(spool)[0]
    (spool / "span/q").chmod(0o755)
    assert seen == {"span/p/a.jsonl"}


def test_a_folder_that_can_be_listed_but_not_entered_hides_no_other(spool: Path) -> None:
    _drop(spool, "span/p/a.jsonl")
    _drop(spool, "span/q/a.jsonl").parent.chmod(0o444)
    with as_nobody(spool):
        seen = _scan(spool)[0]
    (spool / "span/q").chmod(0o755)
    assert seen == {"span/p/a.jsonl"}


def test_whether_anything_but_what_was_refused_is_pending(spool: Path) -> None:
    refused = Place(type="span", project="p", name="a.jsonl")
    assert not has_other_than({refused}, spool, TYPES, None)
    _drop(spool, "span/p/a.jsonl")
    _drop(spool, "nonsense/p/a.jsonl")
    assert has_other_than((), spool, TYPES, None)
    assert not has_other_than({refused}, spool, TYPES, None)
    _drop(spool, "span/q/a.jsonl")
    assert has_other_than({refused}, spool, TYPES, None)
    assert not has_other_than({refused}, spool, TYPES, "p")
