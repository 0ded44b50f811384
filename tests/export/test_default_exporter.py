"""Batches, retries, strategies, drops and the end of the exporter; then the three storages for real."""

import asyncio
import errno
import logging
import math
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spoolhouse.export import (
    Capabilities,
    DefaultExporter,
    Drop,
    RejectedRecordsError,
    SpoolStorage,
    StoreStorage,
    Strategy,
)
from spoolhouse.export.storages import Record
from tests.contract.proxy import proxy_to
from tests.engine import Database
from tests.export.landed import Landed
from tests.faults.life import armed, wait_until
from tests.process.daemon import command

TIME = datetime.now(UTC).isoformat()
ALL = Strategy("batch", ("batch", "insert-only", "realtime"))


class Memory:
    """A storage that keeps what it gets, and fails as often as it is told."""

    def __init__(
        self, *, failures: int = 0, strategy: Strategy = ALL, capabilities: Capabilities | None = None
    ) -> None:
        self.capabilities, self.tracing_strategy = capabilities or Capabilities(), strategy
        self.batches: list[tuple[str, list[Record]]] = []
        self.names: list[str] = []
        self.failures, self.rejects, self.is_closed = failures, 0, False
        self.changed = threading.Condition()
        self.go_on = threading.Event()
        self.go_on.set()

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            self.changed.wait_for(holds)

    async def _take(self, signal_: str, records: Sequence[Record], batch: str) -> None:
        self.names.append(batch)
        self.go_on.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("away")
        with self.changed:
            self.batches.append((signal_, list(records)))
            self.changed.notify_all()
        if self.rejects:
            raise RejectedRecordsError(self.rejects, "no time")

    async def batch_create_spans(self, spans: Sequence[Record], *, project: str, batch: str) -> None:
        await self._take("tracing", spans, batch)

    async def batch_create_logs(self, logs: Sequence[Record], *, project: str, batch: str) -> None:
        await self._take("logs", logs, batch)

    async def batch_record_metrics(self, metrics: Sequence[Record], *, project: str, batch: str) -> None:
        await self._take("metrics", metrics, batch)

    async def create_score(self, score: Record, *, project: str, batch: str) -> None:
        await self._take("scores", [score], batch)

    async def create_feedback(self, feedback: Record, *, project: str, batch: str) -> None:
        await self._take("feedback", [feedback], batch)

    async def close(self) -> None:
        self.is_closed = True


class Pauses(list[float]):
    """Waits for nothing, and remembers how long that would have taken."""

    async def sleep(self, seconds: float) -> None:
        self.append(seconds)


def exporter(storage: Any, **options: Any) -> tuple[DefaultExporter, list[Drop]]:
    """Return an exporter that writes by size and on request alone, unless told otherwise; and its drops."""
    drops: list[Drop] = []
    given = {"max_batch_wait_ms": 3.6e6, "project": "shop", **options}
    return DefaultExporter(storage, on_drop=drops.append, **given), drops


def span(kind: str, **fields: object) -> dict[str, object]:
    return {"type": kind, "span": {"id": "s1", "traceId": "t1", "name": "a", "startTime": TIME, **fields}}


def told(drops: list[Drop]) -> list[tuple[str, str, int]]:
    return [(drop.signal, drop.reason, drop.count) for drop in drops]


def test_a_batch_is_written_when_it_is_full() -> None:
    storage = Memory()
    made, _ = exporter(storage, max_batch_size=3)
    for number in range(3):
        made.on_log_event({"n": number})
    storage.wait_for(lambda: len(storage.batches) == 1)
    made.on_log_event({"log": {"n": 3}})
    assert storage.batches == [("logs", [{"n": 0}, {"n": 1}, {"n": 2}])]
    assert made.flush()
    assert storage.batches[1:] == [("logs", [{"n": 3}])]
    assert made.shutdown()
    assert storage.is_closed


def test_a_thread_that_cannot_be_started_is_started_by_the_next_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    storage = Memory()
    made, _ = exporter(storage)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            made.on_log_event({"n": 0})
    assert made.flush()
    made.on_log_event({"n": 1})
    assert made.shutdown()
    assert storage.batches == [("logs", [{"n": 1}])]


def test_a_batch_is_written_when_it_is_old() -> None:
    storage = Memory()
    made, _ = exporter(storage, max_batch_wait_ms=1)
    for number in range(2):
        made.on_metric_event({"n": number})
        storage.wait_for(lambda count=number: len(storage.batches) == count + 1)  # type: ignore[misc]  # bound at once
    made.shutdown()


@pytest.mark.parametrize(("failures", "drops"), [(4, []), (5, [("logs", "retry-exhausted", 2)])])
def test_a_batch_is_repeated_after_longer_and_longer_pauses(failures: int, drops: list[Any]) -> None:
    storage, pauses = Memory(failures=failures), Pauses()
    made, dropped = exporter(storage, sleep=pauses.sleep)
    made.on_log_event({"n": 1})
    made.on_log_event({"n": 2})
    assert made.shutdown()
    assert pauses == [0.5, 1, 2, 4]
    assert len(storage.names) == 5
    assert len(set(storage.names)) == 1, "repeated under one name"
    assert told(dropped) == drops
    assert len(storage.batches) == (0 if drops else 1)


def test_what_the_storage_refuses_goes_into_the_spool(tmp_path: Path) -> None:
    made, dropped = exporter(Memory(failures=99), sleep=Pauses().sleep, spool=tmp_path)
    made.on_log_event({"n": 1})
    made.on_score_event({"score": {"n": 2}})
    assert made.shutdown()
    assert dropped == []
    assert sorted(path.read_text() for path in tmp_path.rglob("*.jsonl")) == ['{"n":1}\n', '{"n":2}\n']
    assert {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jsonl")} == {
        "log/shop", "score/shop",
    }  # fmt: skip


def test_records_that_are_no_events_are_dropped_and_not_repeated() -> None:
    storage = Memory()
    storage.rejects = 1
    made, dropped = exporter(storage)
    made.on_log_event({"n": 1})
    made.shutdown()
    assert told(dropped) == [("logs", "rejected", 1)]
    assert len(storage.names) == 1


def test_an_event_without_a_project_is_refused_and_one_that_cannot_be_a_folder_is_dropped(tmp_path: Path) -> None:
    made, dropped = exporter(SpoolStorage(tmp_path), project="", spool=tmp_path, sleep=Pauses().sleep)
    with pytest.raises(ValueError, match="no project"):
        made.on_log_event({"n": 1})
    made.on_log_event({"n": 1, "projectId": "../up"})
    made.on_metric_event({"n": 2, "project_id": "shop"})
    made.shutdown()
    assert told(dropped) == [("logs", "rejected", 1)]
    assert [path.parent.name for path in tmp_path.rglob("*.jsonl")] == ["shop"]


class Disk:
    """Has space for one file, until some is made."""

    def __init__(self) -> None:
        self._sync, self.files = os.fsync, 1.0

    async def make_space(self, _seconds: float) -> None:
        self.files = math.inf

    def sync(self, descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            if not self.files:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.files -= 1
        self._sync(descriptor)


@pytest.mark.parametrize(("is_spilled", "is_store"), [(False, False), (True, True), (True, False)])
def test_of_a_batch_of_two_projects_each_is_in_the_spool_once(
    is_spilled: bool, is_store: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full between the two files. A repetition writes the second alone; a spill drops it alone."""
    disk = Disk()
    storage = Memory(failures=99) if is_store else SpoolStorage(tmp_path)
    made, dropped = exporter(storage, max_retries=0 if is_spilled else 1, sleep=disk.make_space, spool=tmp_path)
    monkeypatch.setattr(os, "fsync", disk.sync)
    for project in ("a", "b"):
        made.on_log_event({"projectId": project})
    assert made.shutdown()
    assert told(dropped) == ([("logs", "retry-exhausted", 1)] if is_spilled else [])
    found = sorted(path.parent.name for path in tmp_path.rglob("*.jsonl"))
    assert found == (["a"] if is_spilled else ["a", "b"])


def test_a_shutdown_while_the_last_batch_is_written_returns_once_it_is() -> None:
    storage = Memory()
    storage.go_on.clear()
    made, _ = exporter(storage, max_batch_size=1)
    made.on_log_event({"n": 1})
    while not storage.names:
        threading.Event().wait(0.001)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(made.shutdown)
        while not made._wanted:
            threading.Event().wait(0.001)
        storage.go_on.set()
        assert ended.result()


def test_a_signal_that_the_storage_lacks_is_dropped() -> None:
    made, dropped = exporter(Memory(capabilities=Capabilities(feedback=False)))
    made.on_feedback_event({"n": 1})
    made.on_score_event({"n": 2})
    made.shutdown()
    assert told(dropped) == [("feedback", "unsupported-storage", 1)]


def test_of_a_span_the_newest_version_is_written() -> None:
    storage = Memory()
    made, _ = exporter(storage)
    made.on_tracing_event(span("span_started", input="a"))
    made.on_tracing_event(span("span_updated", output="b"))
    made.on_tracing_event(span("span_ended", endTime=TIME))
    made.flush()
    [(_, [written])] = storage.batches
    assert (written["input"], written["output"], written["endTime"]) == ("a", "b", TIME)
    made.shutdown()


@pytest.mark.parametrize("flushed", [False, True])
def test_a_start_after_the_end_changes_nothing(flushed: bool) -> None:
    storage = Memory()
    made, _ = exporter(storage)
    made.on_tracing_event(span("span_updated", output="b"))
    made.on_tracing_event(span("span_ended", endTime=TIME))
    if flushed:
        made.flush()
    made.on_tracing_event(span("span_started", endTime=None))
    made.shutdown()
    [(_, [written])] = storage.batches
    assert (written["endTime"], written["output"]) == (TIME, "b")


@pytest.mark.parametrize("flushed", [False, True])
def test_a_start_after_an_update_takes_nothing_back(flushed: bool) -> None:
    storage = Memory()
    made, _ = exporter(storage)
    made.on_tracing_event(span("span_updated", model="b", output="c"))
    if flushed:
        made.flush()
    made.on_tracing_event(span("span_started", model="a", input="d"))
    made.on_tracing_event(span("span_updated", output="e"))
    made.shutdown()
    written: dict[str, object] = {}
    for _, [one] in storage.batches:
        written.update(one)
    assert (written["output"], written.get("input")) == ("e", None if flushed else "d")
    assert written["model"] == "b"
    assert len(storage.batches) == (2 if flushed else 1)


def test_insert_only_ignores_starts_and_realtime_writes_each() -> None:
    events = [span("span_started"), span("span_updated"), span("span_ended")]
    found = {}
    for strategy in ("insert-only", "realtime"):
        storage = Memory()
        made, _ = exporter(storage, strategy=strategy)
        for event in events:
            made.on_tracing_event(event)
        made.shutdown()
        found[strategy] = sum(len(records) for _, records in storage.batches)
    assert found == {"insert-only": 1, "realtime": 3}


def test_a_strategy_that_is_not_supported_is_replaced_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        made, _ = exporter(Memory(strategy=Strategy("insert-only", ("insert-only",))), strategy="batch")
    assert made.strategy == "insert-only"
    assert "does not support the strategy 'batch'" in caplog.text
    assert exporter(Memory())[0].strategy == "batch"


def test_what_comes_while_the_buffer_is_full_is_dropped_or_spilled(tmp_path: Path) -> None:
    for spool in (None, tmp_path):
        storage = Memory()
        storage.go_on.clear()
        made, dropped = exporter(storage, max_batch_size=2, max_buffer_size=3, spool=spool)
        for number in range(2):
            made.on_log_event({"n": number})
        storage_has_begun = threading.Event()
        while not storage.names:
            storage_has_begun.wait(0.001)
        for number in range(5):
            made.on_log_event({"n": 10 + number})
        storage.go_on.set()
        assert made.shutdown()
        stored = sum(len(records) for _, records in storage.batches)
        spilled = sum(len(path.read_bytes().splitlines()) for path in tmp_path.rglob("*.jsonl"))
        if spool is None:
            assert (stored, told(dropped)) == (5, [("logs", "buffer-full", 2)])
        else:
            assert (stored, spilled, dropped) == (4, 3, [])


def test_a_shutdown_ends_in_time_and_spills_the_rest(tmp_path: Path) -> None:
    """The pauses between the attempts are an hour long."""
    made, dropped = exporter(Memory(failures=99), retry_delay_ms=3.6e6, spool=tmp_path)
    made.on_log_event({"n": 1})
    assert not made.shutdown(0)
    with pytest.raises(ValueError, match="shut down"):
        made.on_log_event({"n": 2})
    threads = [thread for thread in threading.enumerate() if thread.name == "spoolhouse-export"]
    for thread in threads:
        thread.join()
    assert dropped == []
    assert [path.read_text() for path in tmp_path.rglob("*.jsonl")] == ['{"n":1}\n']


def test_a_process_that_is_killed_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from spoolhouse.export import DefaultExporter, SpoolStorage
exporter = DefaultExporter(SpoolStorage(sys.argv[1]), project="shop", max_batch_wait_ms=3.6e6)
exporter.on_log_event({"n": 1})
assert exporter.flush()
exporter.on_log_event({"n": 2})
if sys.argv[2] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    for end, code, expected in (("kill", -signal.SIGKILL, ['{"n":1}\n']), ("end", 0, ['{"n":1}\n', '{"n":2}\n'])):
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path / end), end], check=False, timeout=120)
        assert done.returncode == code
        assert sorted(path.read_text() for path in (tmp_path / end).rglob("*.jsonl")) == expected


def test_a_program_that_ends_without_a_shutdown_has_written_all_to_its_store(tmp_path: Path) -> None:
    program = """
import sys
from spoolhouse.export import DefaultExporter, StoreStorage
exporter = DefaultExporter(StoreStorage(sys.argv[1]), project="shop", max_batch_wait_ms=3.6e6)
exporter.on_log_event({"level": "info", "message": "a", "timestamp": sys.argv[2]})
"""
    command = [sys.executable, "-c", program, f"duckdb://{tmp_path}/spool.db", TIME]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [row["message"] for row in Landed(tmp_path / "spool").rows("logs", "shop")] == ["a"]


def export_all(made: DefaultExporter) -> None:
    root = {"id": "s1", "traceId": "t1", "name": "root", "startTime": TIME}
    made.on_tracing_event({"type": "span_started", "span": root})
    made.on_tracing_event({"type": "span_ended", "span": {**root, "endTime": TIME, "status": "ok"}})
    exported = {
        "id": "s2",
        "traceId": "t1",
        "parentSpanId": "s1",
        "name": "inner",
        "type": "tool_call",
        "startTime": TIME,
    }
    made.on_tracing_event({"type": "span_ended", "exportedSpan": {**exported, "endTime": TIME}})
    for number in range(3):
        made.on_log_event({"level": "info", "message": f"log {number}", "timestamp": TIME})
        made.on_metric_event({"name": "orders", "metricType": "counter", "value": number, "timestamp": TIME})
    made.on_score_event({"traceId": "t1", "name": "relevance", "value": 0.5, "timestamp": TIME})
    made.on_feedback_event(
        {"traceId": "t1", "source": "user", "feedbackType": "thumbs", "value": "5", "timestamp": TIME}
    )


LANDED = "SELECT count() > 0 FROM mastra_admin_spans"
EXPECTED = {"spans": 2, "traces": 1, "logs": 3, "metrics": 3, "scores": 1, "feedback": 1}


@pytest.mark.parametrize("kind", ["spool", "duckdb"])
def test_all_signals_land_in_a_file(kind: str, tmp_path: Path, arm: Callable[[str], None]) -> None:
    """Also where the answer to a batch is lost after it has landed: it is repeated, and there once."""
    database = f"duckdb://{tmp_path}/spool.db"
    storage = SpoolStorage(tmp_path / "spool") if kind == "spool" else StoreStorage(database)
    pauses = Pauses()
    made, dropped = exporter(storage, sleep=pauses.sleep)
    arm("duckdb.committed@2x2=EIO")
    export_all(made)
    assert made.shutdown(120)
    assert dropped == []
    assert len(pauses) == (0 if kind == "spool" else 2)
    arm("")
    landed = Landed(tmp_path / "spool", is_root_a_trace=True)
    assert {table: len(landed.rows(table, "shop")) for table in EXPECTED} == EXPECTED
    assert {row["name"]: row["status"] for row in landed.rows("spans", "shop")}["root"] == "ok"


def test_all_signals_land_in_clickhouse_and_a_record_that_is_no_event_is_dropped(database: Database) -> None:
    made, dropped = exporter(StoreStorage(database.native_url))
    assert made.strategy == "insert-only"
    export_all(made)
    made.on_log_event({"level": "info", "message": "no time"})
    assert made.shutdown(120)
    assert told(dropped) == [("logs", "rejected", 1)]
    counts = {table: database.query(f"SELECT count() FROM mastra_admin_{table}")[0][0] for table in EXPECTED}
    assert counts == EXPECTED
    assert database.query("SELECT sum(count) FROM mastra_admin_logs_hourly_stats")[0][0] == 3


def test_a_spilled_batch_that_has_landed_in_a_file_is_there_once(tmp_path: Path, arm: Callable[[str], None]) -> None:
    """The answer to each attempt is lost, and a daemon reads the spool."""
    made, dropped = exporter(
        StoreStorage(f"duckdb://{tmp_path}/spool.db"), sleep=Pauses().sleep, max_retries=1, spool=tmp_path / "spool"
    )
    arm("duckdb.committed@*=EIO")
    export_all(made)
    assert made.shutdown(120)
    arm("")
    assert dropped == []
    assert len(list((tmp_path / "spool").rglob("*.jsonl"))) == 5
    landed = Landed(tmp_path / "spool", is_root_a_trace=True)
    assert {table: len(landed.rows(table, "shop")) for table in EXPECTED} == EXPECTED


def test_a_corrected_copy_of_a_spilled_batch_that_has_landed_lands_too(
    tmp_path: Path, arm: Callable[[str], None]
) -> None:
    """Its name alone does not say that its lines have landed."""
    made, dropped = exporter(
        StoreStorage(f"duckdb://{tmp_path}/spool.db"), sleep=Pauses().sleep, max_retries=0, spool=tmp_path / "spool"
    )
    arm("duckdb.committed@*=EIO")
    made.on_log_event({"level": "info", "message": "first", "timestamp": TIME})
    assert made.shutdown(120)
    arm("")
    assert dropped == []
    [spilled] = (tmp_path / "spool").rglob("*.jsonl")
    spilled.write_text(spilled.read_text().replace("first", "second"))
    assert sorted(row["message"] for row in Landed(tmp_path / "spool").rows("logs", "shop")) == ["first", "second"]


def test_a_batch_whose_exporter_was_killed_while_it_spilled_is_there_once(tmp_path: Path) -> None:
    """It has landed, and `check --fix` takes up its draft."""
    program = """
import os, signal, sys
from spoolhouse.export import DefaultExporter, StoreStorage
from spoolhouse.spool.storage import LocalFileStorage
LocalFileStorage.move = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
exporter = DefaultExporter(StoreStorage(sys.argv[1]), project="shop", spool=sys.argv[2], max_retries=0)
exporter.on_log_event({"level": "info", "message": "a", "timestamp": sys.argv[3]})
exporter.shutdown(60)
"""
    url, spool = f"duckdb://{tmp_path}/spool.db", tmp_path / "spool"
    killed = subprocess.run(
        [sys.executable, "-c", program, url, str(spool), TIME],
        check=False,
        timeout=120,
        env=os.environ | {"SPOOLHOUSE_TEST_FAILPOINTS": "duckdb.committed@*=EIO"},
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(spool.rglob(".*.draft"))) == 1
    fixed = command("check", "--fix", "--store-url", url, "--file-storage-path", str(spool), "--base-path", "")
    assert "1 draft of a dead writer taken up" in fixed.stdout
    assert len(list(spool.rglob("*_spilled-*.jsonl"))) == 1
    assert [row["message"] for row in Landed(spool).rows("logs", "shop")] == ["a"]


async def test_a_spilled_batch_that_has_landed_in_clickhouse_is_there_once(
    database: Database, tmp_path: Path, arm: Callable[[str], None]
) -> None:
    """The answer to the first insert is lost with the way to the server; so a part of the first batch has landed.

    Of the daemons that read the spool the first one is killed.
    """
    here, endpoint = tmp_path / "here", database.server.endpoint
    async with proxy_to("127.0.0.1", endpoint.tcp_port) as proxy:
        url = database.native_url.replace(f":{endpoint.tcp_port}", f":{proxy.port}")
        made, dropped = exporter(StoreStorage(url), max_retries=0, spool=tmp_path / "spool")
        arm(f"native.all_sent=wait:{here}")
        export_all(made)
        ended = asyncio.create_task(asyncio.to_thread(made.shutdown, 120))
        await asyncio.to_thread(wait_until, here.exists)
        proxy.deaf.set()
        here.unlink()
        await asyncio.to_thread(wait_until, lambda: database.query(LANDED) == [(1,)])
        proxy.refusing = True
        proxy.cut()
        assert await ended
    assert dropped == []
    assert len(list((tmp_path / "spool").rglob("*.jsonl"))) == 5
    spool = ("--file-storage-path", str(tmp_path / "spool"), "--base-path", "")
    traces = {"SPOOLHOUSE_EVENTS__TRACES_FROM_ROOT_SPANS": "true"}
    once = ("ingest", "--once", "--clickhouse-url", database.native_url, *spool)
    killed = await asyncio.to_thread(command, *once, env=traces | armed("settle.complete", "kill"))
    assert killed.returncode == -signal.SIGKILL
    done = await asyncio.to_thread(command, *once, env=traces)
    assert done.returncode == 0, done.stderr
    assert {table: database.query(f"SELECT count() FROM mastra_admin_{table}")[0][0] for table in EXPECTED} == EXPECTED
    assert database.query("SELECT sum(count) FROM mastra_admin_logs_hourly_stats")[0][0] == 3
    verified = await asyncio.to_thread(
        command, "verify", "--clickhouse-url", database.native_url, *spool, "--since", "1d", env=traces
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize("kind", ["duckdb", "clickhouse"])
def test_a_forked_child_does_not_use_the_connections_of_its_parent(
    kind: str, tmp_path: Path, database: Database
) -> None:
    """Over ClickHouse it opens its own; a DuckDB file is its parent's alone, and what the child takes is spilled."""
    program = """
import os, sys
from spoolhouse.export import DefaultExporter, StoreStorage
def log(message):
    exporter.on_log_event({"level": "info", "message": message, "timestamp": sys.argv[3]})
exporter = DefaultExporter(StoreStorage(sys.argv[1]), project="shop", spool=sys.argv[2], retry_delay_ms=0)
log("before")
assert exporter.flush()
pid = os.fork()
if pid == 0:
    log("child")
    os._exit(0 if exporter.shutdown() else 1)
assert os.waitpid(pid, 0)[1] == 0
log("parent")
assert exporter.shutdown()
"""
    url = f"duckdb://{tmp_path}/spool.db" if kind == "duckdb" else database.native_url
    done = subprocess.run([sys.executable, "-c", program, url, str(tmp_path / "spool"), TIME], check=False, timeout=120)
    assert done.returncode == 0
    spilled = list((tmp_path / "spool").rglob("*.jsonl"))
    if kind == "duckdb":
        assert len(spilled) == 1
        found = [row["message"] for row in Landed(tmp_path / "spool").rows("logs", "shop")]
    else:
        assert spilled == []
        found = [message for (message,) in database.query("SELECT message FROM mastra_admin_logs")]
    assert sorted(found) == ["before", "child", "parent"]


def test_a_forked_child_writes_only_what_it_has_taken(tmp_path: Path) -> None:
    program = """
import os, sys
from spoolhouse.export import DefaultExporter, SpoolStorage
exporter = DefaultExporter(SpoolStorage(sys.argv[1]), project="shop", max_batch_wait_ms=3.6e6)
exporter.on_log_event({"n": "parent"})
pid = os.fork()
if pid == 0:
    exporter.on_log_event({"n": "child"})
    os._exit(0 if exporter.shutdown() else 1)
assert os.waitpid(pid, 0)[1] == 0
assert exporter.shutdown()
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=120)
    assert done.returncode == 0
    assert sorted(path.read_text() for path in tmp_path.rglob("*.jsonl")) == ['{"n":"child"}\n', '{"n":"parent"}\n']
