"""Pending files over the port to a storage, and what is in them."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path

import zstandard

from spoolhouse.export import LocalFileStorage, list_pending_files, process_file

SPAN = {"id": "s1", "traceId": "t1", "name": "a", "startTime": "2026-11-21T12:00:00Z"}


def test_pending_files_are_listed_from_the_oldest_on(tmp_path: Path) -> None:
    storage = LocalFileStorage(tmp_path)
    names = [
        "span/shop/2_a.jsonl", "span/shop/1_b.jsonl.gz", "log/web/3_c.log", "span/web/4_d.jsonl",
        "span/shop/processed/0_e.jsonl", "span/shop/notes.txt", "rejected/day/x.jsonl", "span/f.jsonl",
    ]  # fmt: skip
    for number, name in enumerate(names):
        storage.write(f"observability/{name}", b"{}\n")
        os.utime(tmp_path / "observability" / name, (number, number))
    pending = [name.removeprefix("observability/") for name in list_pending_files(storage)]
    assert pending == names[:4]
    assert list_pending_files(storage, project_id="web", event_type="span") == ["observability/span/web/4_d.jsonl"]
    assert list_pending_files(storage, limit=1) == ["observability/span/shop/2_a.jsonl"]
    assert list_pending_files(LocalFileStorage(tmp_path / "observability"), "", event_type="log") == ["log/web/3_c.log"]


def test_a_file_gives_events_and_errors_by_line(tmp_path: Path) -> None:
    storage = LocalFileStorage(tmp_path)
    lines = [json.dumps(SPAN), "", "no json", json.dumps({**SPAN, "startTime": None}), json.dumps({**SPAN, "id": "s2"})]
    content = "\n".join(lines).encode()
    packed = {
        "": content, ".gz": gzip.compress(content), ".bz2": bz2.compress(content), ".xz": lzma.compress(content),
        ".zst": zstandard.compress(content),
    }  # fmt: skip
    for suffix, data in packed.items():
        path = f"span/shop/1700000000000_a.jsonl{suffix}"
        storage.write(path, data)
        result = process_file(storage, path)
        assert [(event.type, event.line, event.data["id"]) for event in result.events] == [
            ("span", 1, "s1"), ("span", 5, "s2"),
        ]  # fmt: skip
        assert [error.line for error in result.errors] == [3, 4]
        assert "startTime" in result.errors[1].error
        assert result.metadata is not None
        assert (result.metadata.type, result.metadata.project_id) == ("span", "shop")
        assert result.metadata.timestamp == "1700000000000"
