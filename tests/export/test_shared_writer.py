"""One writer for a whole program: what events may hold, age, threads, forks, the end of the process, validation."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from uuid import UUID

import pytest

from spoolhouse.export import AsyncSpoolWriter, SpoolWriter
from spoolhouse.producer.encoding import Event
from tests.process.daemon import command

SPAN = {"id": "s1", "traceId": "t1", "name": "a", "startTime": "2026-11-21T12:00:00Z"}


def shown(root: Path) -> list[dict[str, object]]:
    """Return the events of all visible files."""
    paths = sorted(path for path in root.rglob("*.jsonl") if path.name[0] != ".")
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def run(script: str, root: Path, *, expected: int = 0) -> str:
    """Run a producer's program to its end; return what it printed."""
    head = "import os, signal, sys, threading\nfrom spoolhouse.export import SpoolWriter\nroot = sys.argv[1]\n"
    done = ended(head + script, root)
    assert done.returncode == expected, done.stderr
    return done.stdout


def ended(script: str, root: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, with the spool as its argument."""
    command = [sys.executable, "-c", script, str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def join_timers() -> None:
    """Return once no flush by age is due."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def test_values_that_json_lacks(tmp_path: Path) -> None:
    class Colour(Enum):
        RED = "red"

    local = datetime(2026, 11, 21, 12, 0, 0, 500)  # noqa: DTZ001  # a time without a zone is the case
    event: dict[str, object] = {
        "utc": datetime(2026, 11, 21, 12, tzinfo=UTC),
        "zone": datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=1))),
        "local": local,
        "day": date(2026, 11, 21),
        "uuid": UUID(int=1),
        "price": Decimal("12.5"),
        "exact": Decimal("0.1000000000000000055511151231257827"),
        "large": Decimal("1e400"),
        "enum": Colour.RED,
        "inner": MappingProxyType({"tuple": (1, 2)}),
    }
    with SpoolWriter(tmp_path) as spool:
        frozen: Event = MappingProxyType(event)
        spool.write("log", "shop", frozen)
    [found] = shown(tmp_path)
    assert datetime.fromisoformat(str(found.pop("local"))) == local.astimezone()
    assert found == {
        "utc": "2026-11-21T12:00:00+00:00", "zone": "2026-11-21T12:00:00+01:00", "day": "2026-11-21",
        "uuid": "00000000-0000-0000-0000-000000000001", "price": 12.5,
        "exact": "0.1000000000000000055511151231257827", "large": "1E+400", "enum": "red", "inner": {"tuple": [1, 2]},
    }  # fmt: skip


def looped() -> dict[str, object]:
    event: dict[str, object] = {}
    event["self"] = event
    return event


@pytest.mark.parametrize(
    "event", [{"a": object()}, {"a": {1, 2}}, {"a": Decimal("NaN")}, {("a",): 1}, looped(), "a\nb", ""]
)
def test_what_is_no_json_is_refused(event: dict[str, object] | str, tmp_path: Path) -> None:
    with SpoolWriter(tmp_path) as spool, pytest.raises(ValueError, match=r".+"):
        spool.write("log", "shop", event)
    assert shown(tmp_path) == []


def test_one_event_or_many(tmp_path: Path) -> None:
    with SpoolWriter(str(tmp_path)) as spool:
        several: list[Event] = [{"n": 5}, '{"n": 6}']
        given: list[Event | Iterable[Event]] = [
            {"n": 1}, b'{"n": 2}', '{"n": 3}\n', bytearray(b'{"n": 4}'), iter(several),
        ]  # fmt: skip
        for events in given:
            spool.write("log", "shop", events)
    assert [event["n"] for event in shown(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_a_file_becomes_visible_by_its_age(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, max_age=0.01)
    for number in range(2):
        spool.write("log", "shop", {"n": number})
        join_timers()
        assert len(shown(tmp_path)) == number + 1
    assert spool.flush() == []


def test_an_error_of_the_background_is_raised_by_the_next_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = SpoolWriter(tmp_path, max_age=0.01)

    def refuse(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        (tmp_path / "log" / "shop").mkdir(parents=True)
        patch.setattr(os, "fsync", refuse)
        spool.write("log", "shop", {"n": 1})
        join_timers()
    with pytest.raises(OSError, match="Input/output"):
        spool.write("log", "shop", {"n": 2})
    spool.write("log", "shop", {"n": 3})
    spool.close()
    assert [event["n"] for event in shown(tmp_path)] == [3]


def test_what_has_failed_and_cannot_be_removed_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be taken up later, though its producer has written the events again."""
    spool = SpoolWriter(tmp_path, max_age=None, new_id=lambda: "x" * 300)
    spool.write("log", "shop", {"n": 1})

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OSError, match="too long"):
        spool.flush()
    [left] = (tmp_path / "log" / "shop").iterdir()
    assert left.stat().st_size == 0


def test_threads_share_a_writer(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, max_lines=7, max_age=0.001)

    def write(thread: int) -> None:
        for number in range(100):
            spool.write("log", "shop", {"n": [thread, number]})
            if number % 40 == 0:
                spool.flush()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    spool.close()
    assert sorted(map(str, (event["n"] for event in shown(tmp_path)))) == sorted(
        str([t, n]) for t in range(4) for n in range(100)
    )
    assert max(len(path.read_bytes().splitlines()) for path in tmp_path.rglob("*.jsonl")) <= 7
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []


def test_a_flush_returns_once_all_is_visible_also_what_another_thread_is_flushing(tmp_path: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def clock() -> int:
        reached.set()
        go_on.wait()
        return 1

    spool = SpoolWriter(tmp_path, max_age=None, clock=clock)
    spool.write("log", "shop", {"n": 1})
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(spool.flush)
        reached.wait()
        second = pool.submit(spool.flush)
        assert not second.done()
        go_on.set()
        assert first.result() == second.result()
    assert len(shown(tmp_path)) == 1


def test_a_fork_while_a_thread_has_the_locks(tmp_path: Path) -> None:
    """The child's locks are its own, or it would wait for a thread that it does not have."""
    script = """
reached, go_on = threading.Event(), threading.Event()
def clock():
    if threading.current_thread() is not threading.main_thread():
        reached.set()
        go_on.wait()
    return 1
spool = SpoolWriter(root, max_age=None, clock=clock)
spool.write("log", "shop", {"n": "parent"})
thread = threading.Thread(target=spool.flush)
thread.start()
reached.wait()
pid = os.fork()
if pid == 0:
    spool.write("log", "shop", {"n": "child"})
    sys.exit()
assert os.waitpid(pid, 0)[1] == 0
go_on.set()
thread.join()
"""
    run(script, tmp_path)
    assert sorted(str(event["n"]) for event in shown(tmp_path)) == ["child", "parent"]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_the_end_of_a_child_of_multiprocessing_shows_everything(method: str, tmp_path: Path) -> None:
    """A forked one runs no function of `atexit`."""
    (tmp_path / "program.py").write_text("""
import multiprocessing, sys
from spoolhouse.export import SpoolWriter
spool = SpoolWriter(sys.argv[1], max_age=None)
def child(root):
    spool.write("log", "shop", {"n": "child"})
if __name__ == "__main__":
    spool.write("log", "shop", {"n": "parent"})
    process = multiprocessing.get_context(sys.argv[2]).Process(target=child, args=sys.argv[1:2])
    process.start()
    process.join()
    sys.exit(process.exitcode)
""")
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "spool"), method]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(str(event["n"]) for event in shown(tmp_path / "spool")) == ["child", "parent"]


def test_the_end_of_the_interpreter_shows_everything(tmp_path: Path) -> None:
    """Also what is written by a program's own function at its exit, after ours."""
    script = """
import atexit
late = lambda: spool.write("log", "shop", {"n": 2})
import logging  # its function comes after ours
from spoolhouse.producer import writer
atexit.unregister(writer._Process.ends)
atexit.register(late)
atexit.register(writer._Process.ends)
spool = SpoolWriter(root, max_age=60)
spool.write("log", "shop", {"n": 1})
"""
    run(script, tmp_path)
    assert sorted(str(event["n"]) for event in shown(tmp_path)) == ["1", "2"]


def test_threads_of_a_program_finish_though_its_spool_is_gone_at_the_end(tmp_path: Path) -> None:
    """A pool's tasks wait for what the writer logs when the threads are ending, and so do other threads."""
    script = """
from concurrent.futures import ThreadPoolExecutor
import logging, os, shutil, sys, threading
from spoolhouse.export import SpoolWriter
gone = threading.Event()
class Handler(logging.Handler):
    def emit(self, record):
        gone.set()
logging.getLogger("spoolhouse").addHandler(Handler())
def task(name):
    gone.wait()
    os.write(1, name.encode() + b" ")
spool = SpoolWriter(sys.argv[1], max_age=None)
spool.write("log", "shop", {"n": 1})
shutil.rmtree(sys.argv[1])
pool = ThreadPoolExecutor(1)
pool.submit(task, "first")
pool.submit(task, "queued")
threading.Thread(target=task, args=("thread",)).start()
"""
    done = ended(script, tmp_path / "spool")
    assert sorted(done.stdout.split()) == ["first", "queued", "thread"], done.stderr
    assert "Exception ignored in atexit callback" in done.stderr
    assert "FileNotFoundError" in done.stderr


def test_a_forked_child_of_multiprocessing_says_what_it_could_not_show(tmp_path: Path) -> None:
    script = """
import multiprocessing, shutil, sys
from spoolhouse.export import SpoolWriter
spool = SpoolWriter(sys.argv[1], max_age=None)
def child():
    spool.write("log", "shop", {"n": 1})
    shutil.rmtree(sys.argv[1])
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join()
"""
    done = ended(script, tmp_path / "spool")
    assert "events are lost: [Errno 2] No such file or directory" in done.stderr


def test_a_writer_imported_after_the_end_of_the_main_thread_shows_each_event_at_once(tmp_path: Path) -> None:
    script = """
import sys, threading
def late():
    threading.main_thread().join()
    from spoolhouse.export import SpoolWriter
    print(len(SpoolWriter(sys.argv[1], max_age=60).write("log", "shop", {"n": 1})))
threading.Thread(target=late).start()
"""
    done = ended(script, tmp_path)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert shown(tmp_path) == [{"n": 1}]


def test_the_end_of_a_block_closes_the_writer(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path) as spool:
        spool.write("log", "shop", {})
    assert spool.close() == []
    with pytest.raises(ValueError, match="closed"):
        spool.write("log", "shop", {})


async def test_the_asynchronous_twin(tmp_path: Path) -> None:
    async with AsyncSpoolWriter(tmp_path, max_lines=1) as spool:
        assert len(await spool.write("log", "shop", [{"n": 1}, {"n": 2}])) == 2
        await spool.create_score("shop", {"n": 3})
        await spool.create_feedback("shop", {"n": 4})
    assert sorted(str(event["n"]) for event in shown(tmp_path)) == ["1", "2", "3", "4"]

    async def fail() -> None:
        async with AsyncSpoolWriter(tmp_path) as spool:
            await spool.write("log", "shop", {"n": 5})
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert len(shown(tmp_path)) == 4


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({**SPAN, "duratonMs": 5}, "unknown field 'duratonMs', did you mean 'durationMs'"),
        ({**SPAN, "startTime": None}, "startTime"),
        ({**SPAN, "kind": "sever"}, "did you mean server"),
        ({"resourceSpans": []}, "missing_field"),
    ],
)
def test_an_event_that_would_not_land_as_meant_is_refused(event: dict[str, object], said: str, tmp_path: Path) -> None:
    with SpoolWriter(tmp_path, validate=True) as spool:
        spool.write("span", "shop", SPAN)
        with pytest.raises(ValueError, match=said):
            spool.write("span", "shop", event)
        with pytest.raises(ValueError, match="no event type 'spam'"):
            spool.write("spam", "shop", SPAN)
    assert shown(tmp_path) == [SPAN]


def test_declared_types_are_checked_too(tmp_path: Path) -> None:
    declarations = Path(__file__).parents[2] / "config" / "events"
    with SpoolWriter(tmp_path, validate=True, declarations=declarations) as spool, pytest.raises(ValueError, match=":"):
        spool.write("deployment", "shop", {"nothing": 1})
    with pytest.raises(ValueError, match="cannot be read"):
        SpoolWriter(tmp_path, validate=True, declarations=tmp_path / "none")


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Path]:
    """A spool with the draft of a writer that was killed, and that of one that lives."""
    script = """
spool = SpoolWriter(root, max_age=None)
spool.write("log", "shop", {"n": "dead"})
spool._open["log", "shop"]._write()
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(script, tmp_path, expected=-signal.SIGKILL)
    living = SpoolWriter(tmp_path, max_age=None)
    living.write("log", "shop", {"n": "living"})
    yield tmp_path
    living.discard()


def check(root: Path, *flags: str) -> list[str]:
    """Return the doctor's lines on drafts. There is no server: other lines are of no interest here."""
    url = ("--clickhouse-url", "clickhouse://127.0.0.1:9")
    done = command("check", *url, "--file-storage-path", str(root), "--base-path", "", *flags)
    return [line for line in done.stdout.splitlines() if line.split()[1:2] == ["drafts"]]


def test_drafts_of_dead_writers_are_reported_and_taken_up_on_request(drafts: Path) -> None:
    assert shown(drafts) == []
    [said] = check(drafts)
    assert said.startswith("warning drafts    1 draft of a dead writer, 13 bytes")
    assert shown(drafts) == []
    [said] = check(drafts, "--fix")
    assert said.startswith("good    drafts    1 draft of a dead writer taken up")
    assert shown(drafts) == [{"n": "dead"}]
    assert check(drafts) == []
