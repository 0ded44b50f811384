"""The oracle: writes events with known ids, and says in the end whether each is where it belongs, exactly once.

It asks the server itself, and reads the spool itself; it shares no code with what it judges. Merges are stopped, so
that a row that landed twice stays there twice.
"""

import gzip
import json
import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from tests.engine import Database, make_tables
from tests.process.daemon import drop

PREFIX = "mastra_admin_"
RECENT = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
LAST_MONTH = RECENT - timedelta(days=40)
"""Another partition: an insert of both is two parts in the table and two in its rollup."""
BAD = (b"{bad", b"[]", b'{"type":"span","id":7}')
REFUSED = "refused"
"""A message that decode accepts and ClickHouse does not."""
TOO_LONG = b"[" + b"x" * 70_000
"""More than `spool.max_line` as these tests set it."""

Row = tuple[Any, ...]


@dataclass(kw_only=True)
class Dropped:
    """One file as it was written."""

    path: Path
    content: bytes
    unreadable: bool = False
    """It belongs into `failed/`."""


class Store(Protocol):
    """A store that rows land in."""

    @property
    def native_url(self) -> str: ...
    @property
    def http_url(self) -> str: ...
    def query(self, sql: str) -> list[Row]:
        """Return the rows of a SELECT that ClickHouse understands."""


@dataclass(kw_only=True)
class AnyOracle(ABC):
    """All that was written into one spool, and what must be true once it is settled, whatever store it is in."""

    spool: Path
    files: list[Dropped] = field(default_factory=list)
    spans: list[Row] = field(default_factory=list)
    logs: list[Row] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    """The ids of agent events, each with rows for two tables."""
    bad: Counter[tuple[str, bytes]] = field(default_factory=Counter)
    """Rejected lines, by the place where their file was dropped."""
    _number: int = 0

    @property
    @abstractmethod
    def store(self) -> Store:
        """Where the rows land."""

    @abstractmethod
    def check_rows_at_most_once(self, *, all_of_them: bool) -> None:
        """No line is there twice, in a table or what counts its rows; `all_of_them`: and none is missing."""

    @abstractmethod
    def check_counts(self) -> None:
        """Each valid line is counted once in what the store has besides its rows."""

    def planned(self) -> list[str]:
        """Return the shipments that the journals have, and no acknowledgement of."""
        found = []
        for path in self.spool.glob(".spoolhouse/*/journal.sqlite"):
            # A copy: opening it would already write to it.
            with TemporaryDirectory() as folder:
                for part in path.parent.glob("journal.sqlite*"):
                    shutil.copy(part, folder)
                with closing(sqlite3.connect(Path(folder) / path.name)) as journal:
                    planned = journal.execute("SELECT id FROM shipment WHERE state = 'planned'").fetchall()
            found += [str(shipment) for (shipment,) in planned]
        return found

    def drop(self, spans: int = 10, *, logs: int = 3, bad: int = 1, project: str = "p", packed: bool = False) -> Path:
        """Drop a file of spans of two months, with logs that strayed into it and bad lines; return its path."""
        self._number += 1
        return self.drop_as(f"{self._number:05}.jsonl" + (".gz" if packed else ""), spans, logs, bad, project)

    def drop_as(self, name: str, spans: int = 10, logs: int = 3, bad: int = 1, project: str = "p") -> Path:
        """Drop such a file under a name of one's own."""
        content = self.lines(name, spans, logs, bad, project)
        if name.endswith(".gz"):
            content = gzip.compress(content, mtime=0)
        path = drop(self.spool, "span", project, name, content)
        self.files.append(Dropped(path=path, content=content))
        return path

    def drop_too_long(self) -> Path:
        """Drop a file with a line that is too long among its lines."""
        self._number += 1
        name = f"{self._number:05}.jsonl"
        content = self.lines(name, 2) + TOO_LONG + b"\n" + self.lines(name, 2)
        self.bad[f"span/p/{name}", TOO_LONG] += 1
        self.files.append(Dropped(path=drop(self.spool, "span", "p", name, content), content=content))
        return self.files[-1].path

    def drop_refused(self, *, kind: str = "span", before: int = 2, logs: int = 3, bad: int = 0, more: int = 2) -> Path:
        """Drop a file with logs that ClickHouse alone refuses; behind them `more` spans, and half as many logs."""
        self._number += 1
        name = f"{self._number:05}.jsonl"
        event = {"type": "log", "projectId": "p", "level": "info", "message": REFUSED, "timestamp": RECENT.isoformat()}
        refused = [json.dumps({**event, "id": f"r{self._next()}"}).encode() for _ in range(3)]
        self.bad.update((f"{kind}/p/{name}", line) for line in refused)
        middle = b"".join(line + b"\n" for line in refused)
        content = self.lines(name, before, logs, bad) + middle + self.lines(name, more, logs=more // 2)
        self.files.append(Dropped(path=drop(self.spool, kind, "p", name, content), content=content))
        return self.files[-1].path

    def drop_left_out(self, *, before: int = 2, more: int = 2) -> Path:
        """Drop a file with agent events between its spans, and at its end; ClickHouse refuses a tool call of some."""
        self._number += 1
        name = f"{self._number:05}.jsonl"
        prompts = [self._prompt("t"), self._prompt(REFUSED), self._prompt("t"), self._prompt(REFUSED)]
        self.bad.update((f"span/p/{name}", line) for line in (prompts[1], prompts[3]))
        middle = b"".join(line + b"\n" for line in prompts)
        content = self.lines(name, before, logs=2) + middle + self.lines(name, more) + self._prompt("t") + b"\n"
        self.files.append(Dropped(path=drop(self.spool, "span", "p", name, content), content=content))
        return self.files[-1].path

    def _prompt(self, last_tool: str) -> bytes:
        name = f"e{self._next()}"
        if last_tool != REFUSED:
            self.prompts.append(name)
        event = {
            "type": "prompt_call", "event_id": name, "project_id": "p", "run_id": "r", "prompt": "?", "model": "m",
            "timestamp": RECENT.isoformat(), "tool_calls": [{"tool_name": "t"}, {"tool_name": last_tool}],
        }  # fmt: skip
        return json.dumps(event).encode()

    def put(self, path: Path, name: str) -> None:
        """Write a file straight to `path`, in nobody's way; its name in the end will be another one."""
        content = self.lines(path.name, 3)
        (path.parent / f".{name}").write_bytes(content)
        (path.parent / f".{name}").rename(path)
        self.files.append(Dropped(path=self.spool / "span" / "p" / path.name, content=content))

    def rename_claimed(self) -> None:
        """Give one of the claimed files another name, by hand."""
        path = self.claimed()[0]
        path.rename(path.with_name(f"renamed-{path.name}"))

    def begin_another_day(self) -> None:
        """Leave no folder for the rejected lines of today; those that are there are kept under another name."""
        for folder in (self.spool / "rejected").glob("????-??-??"):
            folder.rename(folder.with_name(f"earlier-{self._next()}"))

    def rename(self, old: Path, new: Path) -> None:
        """Expect the bad lines of a file under its new name."""
        for (file, line), count in list(self.bad.items()):
            if file == f"span/p/{old.name}":
                del self.bad[file, line]
                self.bad[f"span/p/{new.name}", line] = count

    def lose(self, file: Dropped, content: bytes, end: int) -> None:
        """Expect a file in `failed/`, and of its content only the lines before byte `end`."""
        file.unreadable = True
        lines = content[end:].splitlines()
        place = f"{_folder(self.spool, file)}/{file.path.name}"
        self.bad -= Counter((place, line) for line in lines)
        events = [json.loads(line) for line in lines if line not in BAD]
        lost = {event.get("id") or event["event_id"] for event in events}
        self.spans = [row for row in self.spans if row[0] not in lost]
        self.logs = [row for row in self.logs if row[0] not in lost]
        self.prompts = [name for name in self.prompts if name not in lost]

    def append(self, path: Path) -> None:
        """Go on writing the file that was dropped last, which stands at `path` now."""
        more = self.lines(path.name, 7, logs=1, bad=1)
        with path.open("ab") as writer:
            writer.write(more)
        self.files[-1].content += more

    def drop_raw(self, name: str, content: bytes, *, unreadable: bool = False) -> Path:
        """Drop a file that holds no event."""
        path = drop(self.spool, "span", "p", name, content)
        self.files.append(Dropped(path=path, content=content, unreadable=unreadable))
        return path

    def lines(self, name: str, spans: int, logs: int = 0, bad: int = 0, project: str = "p") -> bytes:
        """Return lines, and expect what is in them; `name` is the file that they will be in."""
        lines = [self._span(project) for _ in range(spans)]
        lines[spans // 2 : spans // 2] = [self._log(project) for _ in range(logs)]
        wrong = [BAD[number % len(BAD)] for number in range(bad)]
        self.bad.update((f"span/{project}/{name}", line) for line in wrong)
        lines[spans // 3 : spans // 3] = wrong
        return b"".join(line + b"\n" for line in lines)

    def _span(self, project: str) -> bytes:
        number = self._next()
        start = (LAST_MONTH if number % 3 == 0 else RECENT) + timedelta(seconds=number % 3000)
        event = {
            "type": "span", "id": f"s{number}", "traceId": f"t{number // 5}", "projectId": project, "name": "call",
            "startTime": start.isoformat(), "durationMs": number % 97,
        }  # fmt: skip
        ended = number % 4 != 0
        if ended:
            event["endTime"] = (start + timedelta(seconds=1)).isoformat()
        self.spans.append((f"s{number}", f"t{number // 5}", project, number % 97, int(start.timestamp()), int(ended)))
        return json.dumps(event).encode()

    def _log(self, project: str) -> bytes:
        number = self._next()
        event = {
            "type": "log", "id": f"l{number}", "projectId": project, "level": "info", "message": f"m{number}",
            "timestamp": RECENT.isoformat(),
        }  # fmt: skip
        self.logs.append((f"l{number}", project, f"m{number}"))
        return json.dumps(event).encode()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def check(self, *, deleted: bool = False) -> None:
        """Fail unless every line, every count and every file is where it belongs."""
        self.check_rows()
        self.check_counts()
        self.check_files([] if deleted else self.files)
        self.check_rejects()

    def check_rows_but(self, lines: bytes) -> None:
        """Each valid line is in its table once; of `lines`, each may be missing."""
        self.check_rows_at_most_once(all_of_them=False)
        found = {name for (name,) in self.store.query(f"SELECT span_id FROM {PREFIX}spans")}
        found |= {name for (name,) in self.store.query(f"SELECT id FROM {PREFIX}logs")}
        lost = {json.loads(line)["id"] for line in lines.splitlines()} - found
        self.spans = [row for row in self.spans if row[0] not in lost]
        self.logs = [row for row in self.logs if row[0] not in lost]
        self.check_rows()
        self.check_counts()

    def check_rows(self) -> None:
        """Each valid line is in its table once, with its values."""
        spans = self.store.query(
            "SELECT span_id, trace_id, project_id, duration_ms, toUnixTimestamp(start_time), isNotNull(end_time)"
            f" FROM {PREFIX}spans"
        )
        assert_same(spans, self.spans, "rows of spans")
        assert_same(self.store.query(f"SELECT id, project_id, message FROM {PREFIX}logs"), self.logs, "rows of logs")
        prompts = [(name,) for name in self.prompts]
        assert_same(self.store.query(f"SELECT event_id FROM {PREFIX}events"), prompts, "rows of events")
        assert_same(self.store.query(f"SELECT event_id FROM {PREFIX}tool_calls"), prompts * 2, "rows of tool calls")

    def check_files(self, files: Sequence[Dropped]) -> None:
        """Each file is in one place, its own, byte for byte; nothing else is left in the spool."""
        expected = [(_folder(self.spool, file), _stem(file.path.name), file.content, file.unreadable) for file in files]
        found = []
        for path in sorted(self.spool.rglob("*")):
            inside = path.relative_to(self.spool).parts
            if path.is_dir() or inside[0] == "rejected" or path.name.endswith(".reason.txt"):
                continue
            if inside[0] == ".spoolhouse" and "claimed" not in inside:
                continue  # who is still watched for appended bytes keeps an instance's folder
            assert inside[0] != ".spoolhouse", f"left behind: {path}"
            assert inside[2] in {"processed", "failed"}, f"not settled: {path}"
            found.append(("/".join(inside[:2]), _stem(path.name), path.read_bytes(), inside[2] == "failed"))
        assert_same(found, expected, "files")

    def check_rejects(self) -> None:
        """Exactly the bad lines are set aside, each with the place that it stood at."""
        rejects: Counter[tuple[str, str]] = Counter()
        for path in (self.spool / "rejected").rglob("*"):
            if path.is_dir():
                continue
            assert path.suffix in {".jsonl", ".line"}, f"left behind: {path}"
            assert not path.name.startswith("."), f"left behind: {path}"
            for line in path.read_bytes().splitlines() if path.suffix == ".jsonl" else ():
                record = json.loads(line)
                rejects[record["file"], record.get("sha256") or sha256(record["raw"].encode()).hexdigest()] += 1
        bad = Counter({(file, sha256(line).hexdigest()): count for (file, line), count in self.bad.items()})
        assert_same(list(rejects.items()), list(bad.items()), "rejected lines")

    def settled(self) -> int:
        """Return how many files are in their final place."""
        kept = [path for kind in ("processed", "failed") for path in self.spool.glob(f"*/*/{kind}/*")]
        return sum(not path.name.endswith(".reason.txt") for path in kept)

    def claimed(self) -> list[Path]:
        """Return the files that some instance holds."""
        return [path for path in (self.spool / ".spoolhouse").glob("*/claimed/**/*") if path.is_file()]


@dataclass(kw_only=True)
class Oracle(AnyOracle):
    """Of a spool whose rows land in a ClickHouse."""

    database: Database

    @property
    def store(self) -> Store:
        """The database."""
        return self.database

    def prepare(self) -> None:
        """Make the schema, so that no daemon needs to, and let no merge hide a double."""
        make_tables(self.database)
        self.database.query(f"ALTER TABLE {PREFIX}logs ADD CONSTRAINT refused CHECK message != '{REFUSED}'")
        self.database.query(f"ALTER TABLE {PREFIX}tool_calls ADD CONSTRAINT refused CHECK tool_name != '{REFUSED}'")
        self.stop_merges()

    def stop_merges(self) -> None:
        """Let no merge hide a double; again after each restart of the server."""
        for table in ("spans", "logs", "spans_hourly", "logs_hourly", "events", "tool_calls"):
            self.database.query(f"SYSTEM STOP MERGES {PREFIX}{table}")

    def lose_parts(self) -> None:
        """Take a part of the table, and another one of its rollup, from each batch that is under way.

        A server that dies between its log of tokens and its part leaves that: the log is kept.
        """
        planned = ", ".join(f"'{shipment}'" for shipment in self.planned())
        unfinished = f"splitByChar(':', batch_id)[1] IN ({planned})"
        lost = {"spans": f"toYYYYMM(start_time) = {LAST_MONTH:%Y%m}", "spans_hourly": f"toYYYYMM(hour) = {RECENT:%Y%m}"}
        for table, month in lost.items():
            self.database.query(f"SYSTEM START MERGES {PREFIX}{table}")  # else nothing is deleted, either
            where = f"{month} AND {unfinished}"
            assert self.database.query(f"SELECT 1 FROM {PREFIX}{table} WHERE {where} LIMIT 1"), "nothing is under way"
            self.database.query(f"ALTER TABLE {PREFIX}{table} DELETE WHERE {where} SETTINGS mutations_sync = 2")
        self.stop_merges()

    def check_rows_at_most_once(self, *, all_of_them: bool) -> None:
        """No line is there twice, in a table or its rollup; `all_of_them`: and none is missing."""
        if all_of_them:
            self.check_rows()
            self.check_counts()
        [(rows, ids)] = self.database.query(f"SELECT count(), uniqExact(span_id) FROM {PREFIX}spans")
        [(ended,)] = self.database.query(f"SELECT count() FROM {PREFIX}spans WHERE isNotNull(end_time)")
        [(counted,)] = self.database.query(f"SELECT sum(lines) FROM {PREFIX}spans_hourly")
        assert (rows, ended) == (ids, counted)

    def check_counts(self) -> None:
        """Each valid line is counted once in its hour."""
        hours: dict[tuple[str, int], list[int]] = {}
        for _, _, project, duration, start, ended in self.spans:
            if ended:
                hours.setdefault((project, start // 3600 * 3600), []).append(duration)
        counted = self.store.query(
            "SELECT project_id, toUnixTimestamp(hour), sum(lines), sum(duration_ms_count), sum(duration_ms_sum),"
            " min(duration_ms_min), max(duration_ms_max)"
            f" FROM {PREFIX}spans_hourly GROUP BY project_id, hour"
        )
        expected = [(*key, len(of), len(of), sum(of), min(of), max(of)) for key, of in hours.items()]
        assert_same(counted, expected, "hours of spans")
        counted = self.store.query(f"SELECT project_id, sum(lines) FROM {PREFIX}logs_hourly GROUP BY project_id")
        assert_same(counted, list(Counter(project for _, project, _ in self.logs).items()), "hours of logs")


def assert_same(found: Sequence[Row], expected: Sequence[Row], what: str) -> None:
    """Fail unless both hold the same, however ordered; say briefly what is missing and what is too much."""
    missing, extra = Counter(expected) - Counter(found), Counter(found) - Counter(expected)
    if missing or extra:
        raise AssertionError(
            f"{what}: {sum(missing.values())} missing, {sum(extra.values())} too many;"
            f" missing {str(list(missing.items())[:5])[:600]}; too many {str(list(extra.items())[:5])[:600]}"
        )


def _folder(spool: Path, file: Dropped) -> str:
    return "/".join(file.path.relative_to(spool).parts[:2])


def _stem(name: str) -> str:
    """Return a file's name without its suffix and without the number that a clash adds."""
    return name.split(".", 1)[0]
