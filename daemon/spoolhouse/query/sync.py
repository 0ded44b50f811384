"""The query side for code without asyncio: the same methods, run by a loop in a thread of their own."""

import inspect
from collections.abc import Callable, Coroutine, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from spoolhouse.query.client import Query
from spoolhouse.query.loop_thread import LoopThread

T = TypeVar("T")


class SyncQuery:
    """Has the methods of `Query`: what is awaited there returns here, and what is an async iterator is a plain one."""

    def __init__(self, make: Callable[[], Query]) -> None:
        """Make the client in the loop that it runs in."""
        self._thread = LoopThread("spoolhouse-query")
        try:
            self._query = self._run(_made(make))
        except BaseException:
            self._thread.end()
            raise

    def __getattr__(self, name: str) -> Any:
        """Return what `Query` has under that name: a method that waits for its answer, or a plain value."""
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._query, name)
        if not callable(method):
            return method

        def call(*arguments: Any, **named: Any) -> Any:
            found = method(*arguments, **named)
            return self._iterate(found) if inspect.isasyncgen(found) else self._run(found)

        return call

    def __dir__(self) -> list[str]:
        """Return the names of all methods."""
        return sorted({*super().__dir__(), *dir(self._query)})

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections, and end the thread."""
        self.close()

    def close(self) -> None:
        """Close all connections, and end the thread; harmless when it was done."""
        if not self._thread.has_ended:
            self._run(self._query.close())
            self._thread.end()

    def _iterate(self, records: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._run(anext(records))
                except StopAsyncIteration:
                    return
        finally:
            if not self._thread.has_ended:
                self._run(records.aclose())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = self._thread.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise


async def _made(make: Callable[[], Query]) -> Query:
    return make()
