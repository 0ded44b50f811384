"""`spoolhouse serve` as a child process."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.process.daemon import SCRIPT


@contextmanager
def serving(*arguments: str | Path) -> Iterator[str]:
    """Run it, and yield the URL that it prints; it ends cleanly at SIGTERM."""
    words = [str(SCRIPT), "serve", "--listen", "127.0.0.1:0", *map(str, arguments)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip().rstrip("/")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
