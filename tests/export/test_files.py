"""Pending files over the port to a storage, and what is in them."""

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path

import zstandard

from spoolhouse.export import LocalFileStorage, StoreStorage, bulk_insert, list_pending_files, process_file
from tests.export.landed import Landed

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


async def test_events_of_a_file_are_inserted_by_type(tmp_path: Path) -> None:
    """Also two types that share a table."""
    storage, time = LocalFileStorage(tmp_path / "spool"), SPAN["startTime"]
    calls = [
        {"eventType": name, "eventId": name, "runId": "r", "timestamp": time, **fields}
        for name, fields in (
            ("prompt_call", {"model": "m", "status": "success", "prompt": "a"}),
            ("error", {"error": {"message": "b"}}),
        )
    ]
    events = []
    for event_type, found in (("span", [SPAN, {**SPAN, "id": "s2"}]), ("prompt_call", calls[:1]), ("error", calls[1:])):
        storage.write(f"{event_type}/shop/1_a.jsonl", "".join(json.dumps(one) + "\n" for one in found))
        result = process_file(storage, f"{event_type}/shop/1_a.jsonl")
        assert result.errors == []
        events += result.events
        storage.delete(f"{event_type}/shop/1_a.jsonl")
    store = StoreStorage(f"duckdb://{tmp_path}/spool.db")
    inserted = await bulk_insert(store, events, project_id="shop")
    await store.close()
    assert inserted == {"span": 2, "prompt_call": 1, "error": 1}
    landed = Landed(tmp_path / "spool")
    assert (len(landed.rows("spans", "shop")), len(landed.rows("events", "shop"))) == (2, 2)
