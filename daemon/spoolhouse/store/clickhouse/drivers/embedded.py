"""The driver for chDB: ClickHouse inside this process, its tables in a folder. For trials without a server."""

import asyncio
import fcntl
import importlib
import importlib.util
import json
import os
import re
import tempfile
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import BadSettingError, OperatorError, StoreError, TransientError
from spoolhouse.store.clickhouse import codes
from spoolhouse.store.clickhouse.driver import Parameter, RowsInsert, Setting
from spoolhouse.store.clickhouse.drivers import query_settings, result_types
from spoolhouse.store.clickhouse.drivers.blocks import next_piece
from spoolhouse.store.clickhouse.drivers.parameters import bind
from spoolhouse.store.clickhouse.drivers.statements import embedded_insert
from spoolhouse.store.clickhouse.drivers.url import Address
from spoolhouse.store.clickhouse.quoting import identifier, literal

T = TypeVar("T")

_ENGINE = threading.Lock()
"""Guards the engine: a process has one, which its drivers use in turn."""
_sessions = 0
"""The number of open sessions in this process; guarded by `_ENGINE`. The first session locks the engine's folder."""
_CODE = re.compile(r"Code: (\d+)\. DB::")
_PID = re.compile(r"PID: (\d+)")
_ROWS_FILE = re.compile(r"spoolhouse-(\d+)-\w+\.rows")


class EmbeddedDriver:
    """A session of the process's engine. All drivers of one process must name the same folder."""

    def __init__(self, address: Address) -> None:
        """Prepare a session; start nothing yet. Raises `BadSettingError` if chDB is not installed."""
        if importlib.util.find_spec("chdb") is None:
            raise BadSettingError("clickhouse.url: chdb:/// needs chDB: pip install 'spoolhouse[embedded]'")
        self._address = address
        self._folder = Path(address.path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chdb")
        self._session: Any = None
        self._known: frozenset[str] = frozenset()

    async def ping(self) -> None:
        """Return once the engine answers a trivial query."""
        await self.execute("SELECT 1")

    async def execute(
        self,
        sql: str,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        query_id: str = "",  # noqa: ARG002  # several users would need a lock; here there is one
        settings: Mapping[str, Setting] | None = None,
    ) -> list[tuple[object, ...]]:
        """Run one statement, without a FORMAT of its own, and return its rows, as `result_types` describes them.

        `settings` hold for the session's later statements, too: `readonly` cannot be taken back.
        """
        return await self._in_thread(partial(self._ask, bind(sql, parameters or {}), settings))

    async def insert_rows(self, insert: RowsInsert, rows: AsyncIterable[Rows]) -> None:
        """Write `rows` to a file beside the tables, then insert it; see `Driver`.

        Once the engine has the file, a cancellation waits for it: the engine cannot be interrupted.
        """
        pieces = aiter(rows)
        first = await next_piece(pieces)
        if first is None:
            return
        await self._in_thread(self._open)
        file = await self._in_thread(self._new_file)
        try:
            await self._fill(file, first, pieces)
            settings = _rendered(query_settings.for_insert(insert, self._known))
            await self._in_thread(partial(self._ask, embedded_insert(insert, file.name, settings)))
        finally:
            _discard(file)

    async def close(self) -> None:
        """End the session; the engine ends with the last one."""
        await self._in_thread(self._end)
        self._thread.shutdown(wait=False)

    async def _fill(self, file: IO[bytes], first: bytes, pieces: AsyncIterator[Rows]) -> None:
        piece: bytes | None = first
        while piece is not None:
            await self._in_thread(partial(self._write, file, piece))
            piece = await next_piece(pieces)
        await self._in_thread(partial(self._write, file, b""))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run `work` in this driver's thread; a cancellation takes effect after it."""
        running = asyncio.wrap_future(self._thread.submit(work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            with suppress(StoreError, asyncio.CancelledError):
                running.result()
            raise

    def _ask(self, sql: str, settings: Mapping[str, Setting] | None = None) -> list[tuple[object, ...]]:
        self._open()
        if settings:
            self._query(f"SET {_rendered(query_settings.for_reading(self._known, settings))}")
        answer = self._query(sql)
        if not answer:
            return []
        table = json.loads(answer.decode(errors="replace"))
        return result_types.rows((column["type"] for column in table["meta"]), table["data"])

    def _query(self, sql: str) -> bytes:
        try:
            with _ENGINE:
                answer: bytes = self._session.query(sql, "JSONCompact").bytes()
        except RuntimeError as error:
            raise _refusal(error) from None
        return answer

    def _open(self) -> None:
        """Start the session if there is none; a missing database leaves it unstarted."""
        if self._session is not None:
            return
        self._clear()
        try:
            with _ENGINE:
                # Checked first: the engine reports only that it cannot start, and writes the reason to standard error.
                self._expect_free()
                # Imported here, in the thread: the import takes almost a second.
                self._session = importlib.import_module("chdb.session").Session(str(self._folder))
                _count(1)
        except RuntimeError as error:
            raise _refusal(error) from None
        try:
            self._query(f"USE {identifier(self._address.database)}")
            names = bind(query_settings.KNOWN_SQL, query_settings.KNOWN_PARAMETERS)
            self._known = frozenset(name for (name,) in json.loads(self._query(names))["data"])
            self._query(f"SET {_rendered(query_settings.for_reading(self._known))}")
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        if self._session is not None:
            with _ENGINE:
                self._session.close()
                _count(-1)
            self._session = None

    def _expect_free(self) -> None:
        """Raise `TransientError` while another process uses the folder; the engine locks its file `status` there."""
        if _sessions:
            return
        with suppress(FileNotFoundError), (self._folder / "status").open() as status:
            try:
                fcntl.flock(status, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found = _PID.search(status.read())
                if found is not None and int(found[1]) == os.getpid():
                    return  # this process has the folder: its sessions share the engine
                by = "another process" if found is None else f"process {found[1]}"
                raise TransientError(
                    f"{self._address.shown} is in use by {by}",
                    hint="end that one first, or use a ClickHouse server: an embedded one is for one process at a time",
                ) from None

    def _clear(self) -> None:
        """Make the folder, and remove files of rows that a killed process left in it."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.iterdir():
                found = _ROWS_FILE.fullmatch(path.name)
                if found and int(found[1]) != os.getpid():
                    path.unlink(missing_ok=True)
        except OSError as error:
            message = f"{self._address.shown} cannot be used: {error.strerror}"
            raise OperatorError(message, hint="check clickhouse.url, and the rights on its folder") from error

    def _new_file(self) -> IO[bytes]:
        try:
            return tempfile.NamedTemporaryFile(
                dir=self._folder, prefix=f"spoolhouse-{os.getpid()}-", suffix=".rows", delete=False
            )
        except OSError as error:
            raise self._full(error) from error

    def _write(self, file: IO[bytes], data: bytes) -> None:
        try:
            file.write(data)
            if not data:
                file.flush()
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> TransientError:
        return TransientError(
            f"{self._address.shown} cannot be written to: {error.strerror}", hint="free or add disk space there"
        )


def _count(change: int) -> None:
    global _sessions  # noqa: PLW0603  # a process has one engine for all drivers
    _sessions += change


def _discard(file: IO[bytes]) -> None:
    with suppress(OSError):  # a write that failed may fail again; it has been reported
        file.close()
    Path(file.name).unlink(missing_ok=True)


def _rendered(settings: Mapping[str, Setting]) -> str:
    """Return settings as SQL."""
    return ", ".join(
        f"{name} = {value if isinstance(value, int) else literal(value)}" for name, value in settings.items()
    )


def _refusal(error: RuntimeError) -> StoreError:
    text = str(error)
    found = _CODE.search(text)
    if found is None:
        return OperatorError(codes.first_line(text), ambiguous=True)
    return codes.error(int(found[1]), text[found.start() :])
