"""Files in `processed/`: listed, and deleted only as they were seen."""

from pathlib import Path

from spoolhouse.file_names import FileNames
from spoolhouse.spool import archive


def test_a_file_that_changes_after_the_look_stays(tmp_path: Path) -> None:
    path = tmp_path / "span/p/processed/a.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 10)
    (seen,) = archive.archived(tmp_path, FileNames())
    with path.open("ab") as writer:
        writer.write(b"more")
    assert not archive.delete(tmp_path, seen)
    path.unlink()
    assert not archive.delete(tmp_path, seen)
    path.parent.rmdir()
    path.parent.symlink_to(tmp_path.parent)
    assert not archive.delete(tmp_path, seen)
