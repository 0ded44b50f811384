"""The disk under the spool, which may refuse for a while: full, read-only, failing, or a folder of another user.

Promises: a write is tried again until it succeeds, with growing pauses, and so is a read that fails for a passing
reason; no shortage of the machine ever counts as a fault of a file; the trouble is logged once and then ever less
often, with the folder and a hint; nothing new is claimed meanwhile. After a stop there is one more attempt and no
wait: the next start continues with the journalled work.
"""

import asyncio
import contextlib
import errno
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from pathlib import Path
from typing import TypeVar

from spoolhouse.errors import DiskError, LeftError, ReadError, SpoolhouseError
from spoolhouse.monitoring import heartbeat
from spoolhouse.monitoring.health import Health
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.retry import RetryPolicy
from spoolhouse.spool.disk_space import MinFree
from spoolhouse.spool.fs import LASTING, SHORTAGES

T = TypeVar("T")

_HINTS = {
    errno.ENOSPC: "make room on its disk (space, or inodes)",
    errno.EDQUOT: "make room, or raise the quota of the daemon's user",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount its file system for writing",
    errno.EIO: "see what the kernel says of its disk",
    errno.EACCES: "let the daemon's user read and write there",
    errno.EPERM: "let the daemon's user read and write there",
    errno.ENOTDIR: "take away what stands in the place of a folder",
    errno.EMFILE: "raise the limit on open files (LimitNOFILE=, ulimit -n)",
    errno.ENFILE: "raise the machine's limit on open files (fs.file-max)",
    errno.ENOMEM: "leave the machine more memory",
    errno.ELOOP: "take away the link that stands in the place of a folder",
}
_WHOLE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
_NO_REFUSAL = (FileNotFoundError, FileExistsError)
"""These answer a question about a name; trying again would not change them."""


def concerns_all(error: OSError) -> bool:
    """Tell whether an error is likely to meet every file, not only the one that it was met at."""
    return error.errno in _WHOLE_DISK


def refusal(folder: Path, error: OSError | DiskError, about: str = "") -> DiskError:
    """Return an error of something in `folder`, with a hint; `about` names the content that was to be written."""
    about = f" ({about})" if about else ""
    if isinstance(error, DiskError):
        return type(error)(error.message + about, hint=error.hint) if about else error
    hint = _HINTS.get(error.errno or 0, "fix it; it is tried again")
    return DiskError(f"{folder}: {error.strerror or error}{about}", hint=hint)


def hint_for(number: int) -> str:
    """Return a hint for an error of the system; empty for an unknown one."""
    return _HINTS.get(number, "")


async def to_its_end(work: Callable[[], T]) -> T:
    """Run `work` in a worker thread; when cancelled meanwhile, wait for its end first.

    No thread may work in a folder whose lock has been released.
    """
    # With the context, so that long work can report progress to the heartbeat.
    running = asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, SpoolhouseError):
            await running
        raise
    finally:
        # The exception would keep this frame alive, and this frame the exception.
        del running


class DiskRetry:
    """Writes to the disk for the stages, with retries."""

    def __init__(self, health: Health, options: Current[Options], stop: asyncio.Event) -> None:
        """Report troubles to `health`; wait for nothing after `stop`."""
        self._stop = stop
        self._health = health
        self._options = options
        self._failing: Counter[str] = Counter()
        """How many readers wait for a file that cannot be read just now."""

    @property
    def least(self) -> MinFree:
        """The free space that rejected lines have to leave."""
        return self._options.value.disk.min_free

    @property
    def retry_policy(self) -> RetryPolicy:
        """The policy by which failed work is tried again."""
        return self._options.value.retry

    @property
    def read_wait(self) -> float:
        """Seconds that a read which fails because of its file is tried again."""
        return self._options.value.disk.read_error_wait

    async def persist(self, folder: Path, work: Callable[[], T], about: str = "") -> T:
        """Run `work`, which writes to `folder`, in a worker thread until the disk takes it.

        `about` names the written content for messages.

        `work` must have changed nothing when it raises OSError or `DiskError`, or be able to continue. Raises
        `DiskError` where the patience of a run with an end is used up, `LeftError` after a stop.
        """
        attempts, since = 0, time.monotonic()
        while True:
            try:
                result = await to_its_end(work)
            except _NO_REFUSAL:
                raise
            except (OSError, DiskError) as error:
                attempts += 1
                trouble = refusal(folder, error, about)
                self._health.bad(str(folder), trouble)
                if self._stop.is_set():
                    raise LeftError(trouble.message, hint=trouble.hint) from error
                if self._options.value.retry.is_used_up(since):
                    raise trouble from error
                await heartbeat.idle_until(self._stop, self._options.value.retry.pause(attempts))
            else:
                if attempts:
                    self._health.good(str(folder))
                return result

    async def read(self, path: Path, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work`, which reads the file at `path`, until it succeeds.

        Raises its OSError if that will not pass, or has lasted for `read_wait` where it is the file's own. Raises
        `DiskError` where the patience of a run with an end is used up, `LeftError` after a stop.
        """
        failures, since, scope = 0, time.monotonic(), str(path)
        try:
            while True:
                try:
                    result = await work()
                except OSError as error:
                    is_over = time.monotonic() - since >= self.read_wait
                    if error.errno not in SHORTAGES | LASTING or (error.errno in LASTING and is_over):
                        raise
                    self._failing[scope] += not failures
                    failures += 1
                    trouble = ReadError(f"{path}: {error.strerror or error}", hint=hint_for(error.errno or 0))
                    self._health.bad(scope, trouble)
                    if self._stop.is_set():
                        raise LeftError(trouble.message, hint=trouble.hint) from error
                    if error.errno in SHORTAGES and self.retry_policy.is_used_up(since):
                        raise trouble from error
                    await heartbeat.idle_until(self._stop, self.retry_policy.pause(failures))
                else:
                    if failures:
                        self._health.good(scope)
                    return result
        finally:
            # A reader that is cancelled leaves no trouble behind, unless another one waits for the same file.
            if failures:
                self._failing[scope] -= 1
                if not self._failing[scope]:
                    del self._failing[scope]
                    self._health.forget(scope)

    def refused(self, folder: Path, error: DiskError) -> None:
        """Note that `folder` does not take files, which are kept elsewhere and tried again."""
        self._health.bad(str(folder), error)

    def took(self, folder: Path) -> None:
        """Note that `folder` takes files again."""
        self._health.good(str(folder))
