"""A clock, a process and a thread that are the same in each run. Importing it sets them."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

import logging
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from io import TextIOBase
from pathlib import Path
from typing import TextIO

import time_machine

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"

clock = time_machine.travel(datetime(2026, 3, 14, 9, 26, 53, 589793, tzinfo=UTC), tick=False).start()

os.getpid = lambda: 4242


class Scrubbed(TextIOBase):
    """A stream that says /srv/app where this script happens to be, and /srv/env where its packages are."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.names = {
            str(Path(sys.argv[0]).resolve().parent): "/srv/app",
            sys.prefix: "/srv/env",
            sys.base_prefix: "/srv/python",
            str(threading.get_ident()): "140245678",
        }

    def write(self, text: str) -> int:
        for real, name in self.names.items():
            text = text.replace(real, name)
        clock.shift(0.001)
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()


out = Scrubbed(sys.stdout)


def logger(formatter: logging.Formatter, name: str = "shop.orders") -> logging.Logger:
    """Return a logger of the standard library that writes with a formatter."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    made = logging.getLogger(name)
    made.handlers[:] = [handler]
    made.setLevel(logging.DEBUG)
    made.propagate = False
    return made


def log_some(log: logging.Logger) -> None:
    """Log what formatters treat differently: levels, arguments, extra fields, exceptions, a stack."""
    log.debug("Read the cache", extra={"key": "a:1", "hit": False})
    log.info("Ordered %s", "a book", extra={"order_id": 981273498123, "price": 12.5})
    log.warning("Slow", extra={"duration_ms": 812.25, "nested": {"a": [1, None]}})
    try:
        raise RangeError
    except RangeError:
        log.exception("Not paid", extra={"user": None})
    log.critical("Gave up", extra={"trace_id": TRACE_ID, "span_id": SPAN_ID})
    log.log(25, "A level of one's own")


class RangeError(ValueError):
    """What the samples raise."""

    def __init__(self) -> None:
        super().__init__("out of range")


def ids(start: int) -> Iterator[int]:
    """Yield numbers that look drawn, the same in each run."""
    drawn = start
    while True:
        drawn = (drawn * 6364136223846793005 + 1442695040888963407) % 2**64
        yield drawn
