"""What runs in a server's process: `child.py PARENT_PID library|binary ENGINE CONFIG`.

It imports nothing of the project and never returns to Python code that matters. Its standard input is a pipe that the
parent holds open. The library's main query reads that pipe, so closing it, on purpose or by dying, ends the query and
shuts the engine down in good order.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

# The last query never gets a row: it is what keeps clickhouse-local alive while others use its ports.
SERVE = (
    "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; "
    "SELECT line FROM file('-', 'LineAsString', 'line String') FORMAT Null SETTINGS max_execution_time = 0"
)


class Result(ctypes.Structure):
    """`local_result_v2` of the library's C interface."""

    _fields_ = (
        ("buf", ctypes.c_char_p),
        ("len", ctypes.c_size_t),
        ("vector", ctypes.c_void_p),
        ("elapsed", ctypes.c_double),
        ("rows_read", ctypes.c_uint64),
        ("bytes_read", ctypes.c_uint64),
        ("error_message", ctypes.c_char_p),
    )


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, even when it is frozen and cannot read its input."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(f"the parent {parent} is gone")


def serve_library(library: str, config: str) -> int:
    """Run clickhouse-local's main with listening ports; return when the input ends or the engine fails."""
    arguments = ["clickhouse", f"--config-file={config}", "--log-level=information", f"--query={SERVE}"]
    main = ctypes.CDLL(library).query_stable_v2
    main.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    main.restype = ctypes.POINTER(Result)
    argv = (ctypes.c_char_p * len(arguments))(*(argument.encode() for argument in arguments))
    error = main(len(arguments), argv).contents.error_message
    if error:
        sys.stderr.write(error.decode(errors="replace") + "\n")
        return 1
    return 0


def serve_binary(binary: str, config: str) -> None:
    """Become a `clickhouse server`; its watchdog would put the real server behind another pid."""
    os.environ["CLICKHOUSE_WATCHDOG_ENABLE"] = "0"
    os.execv(binary, [binary, "server", f"--config-file={config}"])  # noqa: S606 (the parent chose both)


if __name__ == "__main__":
    _, PARENT, KIND, ENGINE, CONFIG = sys.argv
    die_with(int(PARENT))
    if KIND == "binary":
        serve_binary(ENGINE, CONFIG)
    sys.exit(serve_library(ENGINE, CONFIG))
