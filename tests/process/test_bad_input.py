"""Each line of the table in `inputs.py`, as a person would meet it."""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.engine import Database, Server
from tests.process.daemon import Daemon, Record, drop, once
from tests.process.inputs import CASES, CUT_OFF, MIB, Case, good

NAME = "20261121T120000Z_1"
PREFIX = "mastra_admin_"


@dataclass(kw_only=True)
class Landed:
    """What one run over all the cases left behind."""

    database: Database
    spool: Path
    code: int
    daemon: Daemon
    rejects: dict[str, list[Record]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def landed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    """Drop every case into one spool, ingest it all once."""
    database = Database(name="test_bad_input", server=server)
    database.drop()
    database.create()
    spool = tmp_path_factory.mktemp("spool")
    for case in CASES + CUT_OFF:
        drop(spool, "span", case.name, NAME + case.suffix, case.content(case.name))
    code, daemon = once(database.native_url, spool)
    result = Landed(database=database, spool=spool, code=code, daemon=daemon)
    for path in (spool / "rejected").rglob("*.jsonl"):
        for text in path.read_bytes().splitlines():
            record = json.loads(text)
            result.rejects.setdefault(record["file"].split("/")[1], []).append(record)
    yield result
    database.drop()


def settled(landed: Landed, case: Case) -> Record:
    [record] = landed.daemon.events("file_settled", path=f"span/{case.name}/{NAME}{case.suffix}")
    return record


def test_it_ends_with_1_because_files_failed(landed: Landed) -> None:
    assert landed.code == 1, landed.daemon.told()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rows(landed: Landed, case: Case) -> None:
    sql = f"SELECT count() FROM {PREFIX}spans WHERE project_id = '{case.name}'"
    assert landed.database.query(sql) == [(case.rows,)]
    for column, value in case.columns:
        sql = f"SELECT {column} FROM {PREFIX}spans WHERE project_id = '{case.name}'"
        assert landed.database.query(sql) == [(value,)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_rejected_lines(landed: Landed, case: Case) -> None:
    rejects = landed.rejects.get(case.name, [])
    assert [record["reason"] for record in rejects] == list(case.reasons)
    content = case.content(case.name)
    for record in rejects:
        offset, number = record["offset"], record["line"]
        assert isinstance(offset, int)
        assert isinstance(number, int)
        assert content[:offset].count(b"\n") == number - 1, "its line number and its offset name the same place"
        if "raw" in record:
            assert content[offset:].startswith(str(record["raw"]).encode("utf-8", "surrogatepass"))
        assert record["detail"], "a person is told what is wrong"


@pytest.mark.parametrize("case", CASES + CUT_OFF, ids=lambda case: case.name)
def test_final_folder_and_log_line(landed: Landed, case: Case) -> None:
    name = NAME + case.suffix
    project = landed.spool / "span" / case.name
    assert (project / case.folder / name).read_bytes() == case.content(case.name)
    assert not (project / name).exists()
    record = settled(landed, case)
    assert record["level"] == case.level
    assert record["destination"] == f"span/{case.name}/{case.folder}/{name}"
    assert record["bytes"] == len(case.content(case.name))
    assert record["rejected"] == len(case.reasons)
    assert case.failure in str(record["failure"] or "")
    if case.folder == "failed":
        assert case.failure in (project / case.folder / f"{name}.reason.txt").read_text()


@pytest.mark.parametrize("case", CUT_OFF, ids=lambda case: case.name)
def test_whole_lines_of_a_cut_off_archive_land(landed: Landed, case: Case) -> None:
    [(count,)] = landed.database.query(f"SELECT count() FROM {PREFIX}spans WHERE project_id = '{case.name}'")
    assert settled(landed, case)["rows"] == {"spans": count}
    assert count > 0
    assert not landed.rejects.get(case.name)


def test_a_spoofed_project_is_counted_where_it_says_it_is_from(landed: Landed) -> None:
    """The policy's default is to warn: the row lands as written, once, and the log line of its file counts it."""
    assert landed.database.query(f"SELECT count() FROM {PREFIX}spans WHERE project_id = 'victim'") == [(2,)]
    for record in landed.daemon.events("file_settled", project_mismatch=1):
        assert record["level"] == "warning"


def test_of_a_too_long_line_the_first_bytes_are_kept_beside_the_rejects(landed: Landed) -> None:
    [record] = landed.rejects["long_line"]
    [path] = (landed.spool / "rejected").rglob(str(record["raw_file"]))
    line = next(case for case in CASES if case.name == "long_line").content("long_line").splitlines()[1]
    assert path.read_bytes() == line[: 16 * MIB]
    assert (record["length"], record["sha256"]) == (len(line), hashlib.sha256(line).hexdigest())


def test_the_spool_is_left_clean(landed: Landed) -> None:
    """No file is left in a folder of ours, and no temporary name anywhere."""
    claimed = [path for path in (landed.spool / ".spoolhouse").rglob("claimed/**/*") if path.is_file()]
    assert claimed == []
    assert list(landed.spool.rglob("*.tmp")) == []


def test_what_is_no_file_of_ours_is_left_alone_and_reported(database: Database, tmp_path: Path) -> None:
    """Links, pipes, folders, temporary and hidden names, other depths and types: never opened, never moved."""
    folder = tmp_path / "span" / "p"
    drop(tmp_path, "span", "p", "good.jsonl", good("p"))
    outside = tmp_path.parent / "outside.jsonl"
    outside.write_bytes(good("outside"))
    (folder / "link.jsonl").symlink_to(outside)
    os.mkfifo(folder / "pipe.jsonl")
    (folder / "folder.jsonl").mkdir()
    (folder / "writing.jsonl.tmp").write_bytes(good("p", first=1))
    (folder / ".hidden.jsonl").write_bytes(good("p", first=2))
    (tmp_path / "span" / "linked").symlink_to(folder)
    drop(tmp_path, "spam", "p", "x.jsonl", good("p", first=3))
    (tmp_path / "span" / "stray.jsonl").write_bytes(good("p", first=4))
    (folder / "deeper").mkdir()
    code, daemon = once(database.native_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query(f"SELECT id FROM (SELECT span_id AS id FROM {PREFIX}spans)") == [("p-0",)]
    said = daemon.events("not_taken")
    reported = {(Path(str(record["path"])).relative_to(tmp_path).as_posix(), record["reason"]) for record in said}
    assert reported == {
        ("span/p/link.jsonl", "not a regular file"),
        ("span/p/pipe.jsonl", "not a regular file"),
        ("span/p/folder.jsonl", "not a regular file"),
        ("span/p/deeper", "not at {type}/{project}/"),
        ("span/linked", "not at {type}/{project}/"),
        ("span/stray.jsonl", "not at {type}/{project}/"),
        ("spam", "no such event type"),
    }
    assert sorted(path.name for path in folder.iterdir()) == [
        ".hidden.jsonl", "deeper", "folder.jsonl", "link.jsonl", "pipe.jsonl", "processed", "writing.jsonl.tmp",
    ]  # fmt: skip


@pytest.mark.parametrize(("policy", "rows", "reasons"), [("trust", 1, []), ("reject", 0, ["project_mismatch"])])
def test_project_policy(database: Database, tmp_path: Path, policy: str, rows: int, reasons: list[str]) -> None:
    drop(tmp_path, "span", "mine", "a.jsonl", good("yours"))
    code, daemon = once(database.native_url, tmp_path, env={"SPOOLHOUSE_SPOOL__PROJECT": policy})
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count() FROM {PREFIX}spans") == [(rows,)]
    found = [json.loads(t)["reason"] for p in tmp_path.glob("rejected/*/*.jsonl") for t in p.read_text().splitlines()]
    assert found == reasons


def test_an_unreadable_file_stays_and_is_reported(database: Database, tmp_path: Path) -> None:
    """Its neighbours land, and `--once` exits 1: something is left."""
    drop(tmp_path, "span", "p", "good.jsonl", good("p"))
    path = drop(tmp_path, "span", "p", "secret.jsonl", good("p", first=1))
    path.chmod(0)
    code, daemon = once(database.http_url, tmp_path, unprivileged=True)
    assert code == 1, daemon.told()
    [record, *_] = daemon.events("file_refused")
    assert record["path"] == "span/p/secret.jsonl"
    assert "permission" in str(record["hint"])
    assert path.exists()
    assert database.query(f"SELECT count() FROM {PREFIX}spans") == [(1,)]
