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
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
