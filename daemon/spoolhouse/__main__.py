"""The console script; `python -m spoolhouse` is the same."""

import os
import sys
from contextlib import suppress
from typing import NoReturn

from spoolhouse.cli import main


def run() -> NoReturn:
    """Run the command of this process, and exit with its code.

    The interpreter is not taken apart: that would take a quarter of a command's time, and wait for a thread whose
    question nobody waits for any more; and DuckDB's library writes to standard error what of it is left then.
    """
    _open_closed_streams()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _open_closed_streams() -> None:
    """Open the null device as each standard stream that is closed: else the next file would take its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.open(os.devnull, os.O_RDWR), mode))  # noqa: PTH123, SIM115  # for as long as the process lasts


if __name__ == "__main__":
    run()
