"""Files by all names that are taken, and with all compressions: each lands once, and ends under its own name."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import zstandard

from tests.engine import Database
from tests.process.daemon import command, drop, once
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".GZ": gzip.compress,
}
PASSING = [".a.jsonl", "a.ndjson.tmp", "a.json~", "a.jsonl.bz2.part", "a.jsonl.xz.TMP", ".a.log.xz"]


def pending(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if (folder / name).is_file())  # noqa: PTH208  # names alone


def test_each_name_with_each_compression_lands_once_and_keeps_its_name(database: Database, tmp_path: Path) -> None:
    """Same stems and different suffixes, too. Names of a producer that still writes stay where they are."""
    names = []
    for number, (suffix, packed) in enumerate(product((".jsonl", ".ndjson", ".json", ".log", ".JSON"), PACKERS)):
        names.append(f"a{suffix}{packed}")
        drop(tmp_path, "log", "p", names[-1], PACKERS[packed](good("p", 2, first=2 * number)))
    for name in PASSING:
        drop(tmp_path, "log", "p", name, good("p", first=1000))
    code, daemon = once(database.http_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}") == [(2 * len(names), 2 * len(names))]
    assert pending(tmp_path / "log/p/processed") == sorted(names)
    assert pending(tmp_path / "log/p") == sorted(PASSING)
    assert not daemon.events("not_taken")


@pytest.mark.parametrize("packed", [".gz", ".zst", ".bz2", ".xz"])
def test_a_damaged_archive_gives_its_whole_lines_and_fails(packed: str, database: Database, tmp_path: Path) -> None:
    """What follows them is brought back from the repaired file."""
    pack = PACKERS[packed]
    whole = pack(good("p", 5)) + pack(good("p", 900, first=5))
    path = drop(tmp_path, "span", "p", f"a.ndjson{packed}", whole[: -len(whole) // 4])
    drop(tmp_path, "span", "p", f"b.json{packed}", b"no archive")
    code, daemon = once(database.http_url, tmp_path)
    assert code == 1, daemon.told()
    [(count,)] = database.query(f"SELECT count() FROM {SPANS} FINAL")
    assert isinstance(count, int)
    assert 5 <= count < 905
    failed = path.parent / "failed"
    assert {name for name in pending(failed) if not name.endswith(".txt")} == {f"a.ndjson{packed}", f"b.json{packed}"}
    for name, content in ((f"a.ndjson{packed}", whole), (f"b.json{packed}", pack(good("p", 3, first=1000)))):
        (failed / ".repaired").write_bytes(content)
        (failed / ".repaired").replace(failed / name)
    done = command(
        "retry", "--all", "--file-storage-path", str(tmp_path), "--base-path", "", "--clickhouse-url", database.http_url
    )
    assert done.returncode == 0, done.stderr
    code, daemon = once(database.http_url, tmp_path)
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count(), uniqExact(span_id) FROM {SPANS}") == [(908, 908)]
    assert not pending(failed)


def test_a_setting_says_which_names_are_taken(database: Database, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('[spool]\nnames = ["*.events", "span/only-*.txt"]\n', encoding="utf-8")
    spool = tmp_path / "spool"
    drop(spool, "span", "p", "A.Events.xz", lzma.compress(good("p")))
    drop(spool, "span", "p", "only-this.txt", good("p", first=1))
    drop(spool, "log", "p", "only-this.txt", good("p", first=2))
    drop(spool, "span", "p", "a.jsonl", good("p", first=3))
    code, daemon = once(database.http_url, spool, "--config", str(config))
    assert code == 0, daemon.told()
    assert database.query(f"SELECT count() FROM {SPANS}") == [(2,)]
    assert {str(record["path"]) for record in daemon.events("not_taken")} == {
        str(spool / "span/p"),
        str(spool / "log/p"),
    }
    assert pending(spool / "span/p/processed") == ["A.Events.xz", "only-this.txt"]


@pytest.mark.parametrize("names", ['""', "[]", '"*.tmp"', '["*.jsonl", 3]', '"a/b/*.json"', '"*.jsonl .*"', '["a b"]'])
def test_a_wrong_glob_is_named_with_its_setting_and_its_fix(names: str, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(f"[spool]\nnames = {names}\n", encoding="utf-8")
    done = command("ingest", "--config", str(config), "--file-storage-path", str(tmp_path))
    assert done.returncode == 78
    assert "spool.names" in done.stderr
    assert "*.jsonl" in done.stderr
    assert "log/*.log" in done.stderr
