"""Command lines in processes of their own that share one interpreter's start, for what is about words and exit codes.

An interpreter imports what all commands need, and forks for each command line.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

# Reads one request a line, and answers each with its exit code.
_PARENT = """
import json, os, sys
from spoolhouse.settings import sources
from spoolhouse.cli import main

for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
        code = 99
        try:
            for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
                os.dup2(os.open(path, os.O_RDWR), number)
            os.environ.clear()
            os.environ.update(request["env"])
            os.chdir(request["cwd"])
            try:
                code = main(request["arguments"])
            except SystemExit as end:
                code = end.code
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forked:
    """Runs command lines one after the other."""

    def __init__(self) -> None:
        """Start the interpreter, without this machine's configuration."""
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("SPOOLHOUSE_")}
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._env
        )

    def __enter__(self) -> Self:
        """Nothing more to do."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._parent.communicate()

    def run(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line to its end, on a terminal-less 80 columns."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with tempfile.NamedTemporaryFile("r") as stdout, tempfile.NamedTemporaryFile("r") as stderr:
            words: Sequence[str] = [*map(str, arguments)]
            request = {
                "arguments": words,
                "env": {**self._env, "COLUMNS": "80", "SPOOLHOUSE_CONFIG": "", **(env or {})},
                "cwd": str(cwd or Path.cwd()),
                "stdout": stdout.name,
                "stderr": stderr.name,
            }
            self._parent.stdin.write(json.dumps(request) + "\n")
            self._parent.stdin.flush()
            code = int(self._parent.stdout.readline())
            return subprocess.CompletedProcess(words, code, stdout.read(), stderr.read())
