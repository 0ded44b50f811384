"""Lets clickhouse-local replicate. It runs in a server's process; see `child.py`, which loads it by its path.

The library holds all of replication, and clickhouse-local leaves out four lines of the server's start: it tells
nobody at which address other replicas fetch parts, and with which credentials; it has no id of its own, so that two of
them end each other's sessions with Keeper; and it does not listen for fetches. These four are supplied here, in
memory. So the places are those of one build, which is told by its id: no other one is touched.

Fetches come in at HOST and the server's HTTP port: for that listen_host, what answers is made by the name of the
other factory.
"""

import ctypes
import os
import struct
import sys
import uuid
from collections.abc import Callable

HOST = "127.0.0.2"
BUILD = bytes.fromhex("d3d8f5517577ad52775b52318a193784b2fb5317")
BUILD_AT = 0x2B8

# Functions of DB::Context, which are long enough for what is put into them.
CREDENTIALS = 0x1417C940
ADDRESS = 0x1417C9C0
ADDRESS_END = 0x1417CAB4
SCHEME = 0x1417CAC0
# Where the listener of HTTP is made, the function that it calls, and the server's id.
CALL = 0x0F117FF6
FACTORY = 0x18395CC0
SERVER_ID = 0x228A3A48

RETURN = b"\xc3"
SHORT = 22
LONG = 1 << 63

Write = Callable[[int, bytes], None]

_kept: list[object] = []
"""What the library's memory points to."""


def replicate(library: str, http_port: int, write: Write) -> None:
    """Make the library, which is not running yet, a server that replicas can fetch from; `write` changes its code."""
    start = loaded_at(library)
    if ctypes.string_at(start + BUILD_AT, len(BUILD)) != BUILD:
        sys.exit("replication is supplied to one build of the library: put a `clickhouse` binary on PATH, or fix this")
    ctypes.memmove(start + SERVER_ID, uuid.uuid4().bytes, 16)
    write(start + CREDENTIALS, b"\x48\xb8" + word(nobody()) + b"\x31\xd2" + RETURN)  # mov rax, …; xor edx, edx
    write(start + SCHEME, returning("http"))
    address = returning(HOST, and_port=http_port)
    hook = ADDRESS + -(-len(address) // 16) * 16
    code = address.ljust(hook - ADDRESS, b"\xcc") + interserver_for_host(hook)
    if len(code) > ADDRESS_END - ADDRESS:
        sys.exit("no room for the hook")
    write(start + ADDRESS, code)
    write(start + CALL, b"\xe8" + struct.pack("<i", hook - (CALL + 5)))


def loaded_at(library: str) -> int:
    """Return the address of the library's first byte."""
    with open("/proc/self/maps") as lines:  # noqa: PTH123  # it imports little, to start fast
        places = [line.split(maxsplit=5) for line in lines]
    path = os.path.realpath(library)
    return min(int(place[0].split("-")[0], 16) for place in places if len(place) > 5 and place[5].strip() == path)


def returning(text: str, *, and_port: int | None = None) -> bytes:
    """Return code that gives back a short string, or a pair of it and a port, in the memory that rdi points to."""
    content = text.encode().ljust(SHORT + 1, b"\0") + bytes([len(text)])
    # mov rax, …; mov [rdi + place], rax
    code = b"".join(b"\x48\xb8" + content[at : at + 8] + b"\x48\x89\x47" + bytes([at]) for at in (0, 8, 16))
    if and_port is not None:
        code += b"\x66\xc7\x47\x18" + struct.pack("<H", and_port)  # mov word [rdi + 24], …
    return code + b"\x48\x89\xf8" + RETURN  # mov rax, rdi


def interserver_for_host(at: int) -> bytes:
    """Return code, to stand `at` a place, that replaces the factory's name for the listen_host of ours."""
    name = keep(ctypes.create_string_buffer(b"InterserverIOHTTPHandler-factory"))
    string = keep(ctypes.create_string_buffer(struct.pack("<QQQ", name, 32, LONG | 40)))
    last = len(HOST) - 1
    # cmp byte [r15 + last], '2'; jne over the next; mov rcx, string
    code = b"\x41\x80\x7f" + bytes([last]) + HOST[last].encode() + b"\x75\x0a" + b"\x48\xb9" + word(string)
    return code + b"\xe9" + struct.pack("<i", FACTORY - (at + len(code) + 5))


def nobody() -> int:
    """Return credentials: no user, no password, and that is whom to let in."""
    strings = bytes(48)
    pair = keep(ctypes.create_string_buffer(strings))
    return keep(ctypes.create_string_buffer(strings + struct.pack("<QQQ", pair, pair + 48, pair + 48)))


def keep(buffer: "ctypes.Array[ctypes.c_char]") -> int:
    """Return a buffer's address; it stays there."""
    _kept.append(buffer)
    return ctypes.addressof(buffer)


def word(value: int) -> bytes:
    """Return eight bytes."""
    return struct.pack("<Q", value)
