"""A fork server: `fork_server.py DESCRIPTOR` imports the whole product once, and forks for each command line.

What it forks is a process like any other, with signals, environment, folder, descriptors and an end of its own; only
the imports are there already. Requests come over the socket DESCRIPTOR: one message each, in JSON, with descriptors for
standard input, output, error and the answer, which is the process id, and the exit code once it has ended.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

STANDARD = 3
LARGEST = 1 << 20
"""Bytes of a request."""
ELSEWHERE = ("encodings.idna", "uvloop", "rich.console", "watchfiles", "http.client")
"""Modules that the product imports only where they are used."""


def import_everything() -> None:
    """Import all that a command or a daemon can need."""
    cli = importlib.import_module("spoolhouse.cli")
    cli.parser("ingest")  # it imports structlog in its own way, which has to come first
    package = importlib.import_module("spoolhouse")
    for module in pkgutil.walk_packages(package.__path__, "spoolhouse."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ELSEWHERE:
        importlib.import_module(name)
    tasks = os.listdir("/proc/self/task")  # noqa: PTH208  # names are enough
    assert len(tasks) == 1, "a fork has no other thread than the one that forked"


def serve(requests: socket.socket) -> Mapping[str, Any]:
    """Fork for each request; return it in the child. Ends the server once nobody can ask any more."""
    running: dict[int, tuple[int, int]] = {}
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in running:
                poll.unregister(ready)
                _bury(ready, *running.pop(ready))
                continue
            message, descriptors, _, _ = socket.recv_fds(requests, LARGEST, STANDARD + 1)
            if not message:
                os._exit(0)
            *standard, answer = descriptors
            pid = os.fork()
            if not pid:
                _take(standard)
                requests.detach()
                os.closerange(STANDARD, LARGEST)
                return dict(json.loads(message))
            for descriptor in standard:
                os.close(descriptor)
            _answer(answer, pid)
            ended = os.pidfd_open(pid)
            running[ended] = pid, answer
            poll.register(ended, select.POLLIN)


def _take(standard: Sequence[int]) -> None:
    """Have these descriptors, and streams that suit them: what a terminal is given is not buffered."""
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    sys.stdout = open(1, "w", buffering=1 if os.isatty(1) else -1, closefd=False)  # noqa: SIM115  # for good
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115  # for good


def _answer(descriptor: int, number: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(descriptor, b"%d\n" % number)


def _bury(ended: int, pid: int, answer: int) -> None:
    os.close(ended)
    _answer(answer, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os.close(answer)


def main(descriptor: int) -> None:
    """Serve; in a child, be the console script."""
    import_everything()
    gc.disable()
    gc.freeze()  # else the first collection of each child copies every page
    request = serve(socket.socket(fileno=descriptor))
    gc.enable()
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [request["script"], *request["arguments"]]
    # The one module that reads the environment when it is imported.
    failpoints = importlib.import_module("spoolhouse.failpoints")
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    _end(_run())


def _run() -> int:
    try:
        return int(importlib.import_module("spoolhouse.cli").main())
    except SystemExit as end:
        return int(end.code or 0)


def _end(code: int) -> None:
    """Exit as the interpreter does, but for the taking apart of each module, which copies every page."""
    threading._shutdown()  # type: ignore[attr-defined]  # it waits for threads, and ends pools
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
