"""What runs in a server's process: `child.py PARENT_PID library|binary ENGINE CONFIG`, or `… program FILE ARGUMENTS`.

It imports nothing of the project and never returns to Python code that matters. Its standard input is a pipe that the
parent holds open. The library's main query reads that pipe, so closing it, on purpose or by dying, ends the query and
shuts the engine down in good order.

clickhouse-local takes an error that ends a connection for its own end: it installs a `KillingErrorHandler`, and a
client that is killed in the middle of an insert, or that gives a wrong password, aborts it. A server does not, so here
that class gets the methods of its base, `Poco::ErrorHandler`, which do nothing (the error is in the log by then).
"""

import ctypes
import mmap
import os
import runpy
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

PR_SET_PDEATHSIG = 1
WORD = ctypes.sizeof(ctypes.c_void_p)
# The length before the name is part of how the compiler spells a class.
KILLING_HANDLER = b"19KillingErrorHandler\0"
DESTRUCTORS = 2
HANDLERS = 3

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


def survive_clients(library: str) -> None:
    """Replace the killing handler's methods, found through the type information that every C++ class carries."""
    constants, tables = read_only(library)
    with open(library, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:  # noqa: PTH123  # it imports little, to start fast
        offset = content.find(KILLING_HANDLER)
    if offset < 0:
        sys.exit("this engine has no KillingErrorHandler: see what it does when a client breaks off, and fix child.py")
    memory = ctypes.string_at(tables.start, len(tables))
    # Type information is three words: the kind of class, its name, and the base's type information.
    [name] = places(memory, constants.start + offset)
    killing = methods(memory, tables.start + name - WORD)
    base = methods(memory, int.from_bytes(memory[name + WORD : name + 2 * WORD], sys.byteorder))
    overwrite(tables.start + killing, memory[base : base + HANDLERS * WORD])


def read_only(library: str) -> tuple[range, range]:
    """Return where the library's constants are in memory, and its tables, which the loader filled with addresses."""
    found = []
    with open("/proc/self/maps") as lines:  # noqa: PTH123  # it imports little, to start fast
        for line in lines:
            addresses, access, _, _, _, *path = line.split(maxsplit=5)
            if access == "r--p" and path and path[0].strip() == os.path.realpath(library):
                found.append(range(*(int(address, 16) for address in addresses.split("-"))))
    constants, *_, tables = found
    return constants, tables


def places(memory: bytes, word: int) -> list[int]:
    """Return the offsets at which this word is in memory."""
    pattern, found, start = word.to_bytes(WORD, sys.byteorder), [], 0
    while (start := memory.find(pattern, start)) >= 0:
        if start % WORD == 0:
            found.append(start)
        start += 1
    return found


def methods(memory: bytes, information: int) -> int:
    """Return the offset of a class's error handling methods: in its table, after its type and its destructors."""
    # A zero before it says that this is a table; where a derived class mentions its base, a name is before it.
    [table] = [place for place in places(memory, information) if memory[place - WORD : place] == bytes(WORD)]
    return table + (1 + DESTRUCTORS) * WORD


def overwrite(address: int, content: bytes, access: int = mmap.PROT_READ) -> None:
    """Write to memory that the loader has made read-only; it is left with `access`."""
    page = address & -mmap.PAGESIZE
    length = ctypes.c_size_t(address + len(content) - page)
    libc = ctypes.CDLL(None, use_errno=True)
    for protection in (access | mmap.PROT_WRITE, access):
        if libc.mprotect(ctypes.c_void_p(page), length, protection):
            raise OSError(ctypes.get_errno(), "mprotect")
        if protection & mmap.PROT_WRITE:
            ctypes.memmove(address, content, len(content))


def overwrite_code(address: int, content: bytes) -> None:
    """Write other instructions over the library's."""
    overwrite(address, content, mmap.PROT_READ | mmap.PROT_EXEC)


def serve_library(library: str, config: str) -> int:
    """Run clickhouse-local's main with listening ports; return when the input ends or the engine fails."""
    arguments = ["clickhouse", f"--config-file={config}", "--log-level=information", f"--query={SERVE}"]
    main = ctypes.CDLL(library).query_stable_v2
    survive_clients(library)
    settings = ET.parse(config).getroot()  # noqa: S314  # the parent has written it
    if settings.find("zookeeper") is not None:
        parts = runpy.run_path(str(Path(__file__).with_name("replication.py")))
        parts["replicate"](library, int(settings.findtext("http_port", "")), overwrite_code)
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
    _, PARENT, KIND, FILE, *ARGUMENTS = sys.argv
    die_with(int(PARENT))
    if KIND == "program":
        os.execv(FILE, [FILE, *ARGUMENTS])  # noqa: S606 (the parent chose both)
    if KIND == "binary":
        serve_binary(FILE, *ARGUMENTS)
    sys.exit(serve_library(FILE, *ARGUMENTS))
