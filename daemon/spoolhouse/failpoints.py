"""Named places in the code that a test can arm: to die there, to stop, to wait, or to meet an error of the disk.

Inert unless `SPOOLHOUSE_TEST_FAILPOINTS` is set at the start: a comma-separated list of `name[@when]=action`, in which
a name may occur several times. `when` is by default the first arrival; `n` is the n-th, `nxm` the n-th and those after
it, m in all, `*` is each, and `+n` each one beyond byte n of a file. The actions: `kill` (SIGKILL, nothing is cleaned
up), `term` and `stop` (SIGTERM and SIGSTOP to this process), `wait:FILE` (make FILE on arrival, and continue when it is
gone), and an errno's name such as `ENOSPC` (raise it). The standard library alone: producers import it.
"""

import errno
import math
import os
import signal
import threading
import time
from pathlib import Path

from spoolhouse.errors import BadSettingError

VARIABLE = "SPOOLHOUSE_TEST_FAILPOINTS"
_POLL = 0.005


class _Trap:
    """An action, at the arrivals from `first` on, `times` in all; arrivals at a byte up to `beyond` do not count."""

    def __init__(self, action: str, *, first: int = 1, times: float = 1, beyond: int = 0) -> None:
        self.action, self.first, self.times, self.beyond = action, first, times, beyond
        self.arrivals = 0

    def springs(self, byte: int | None) -> bool:
        if byte is not None and byte <= self.beyond:
            return False
        self.arrivals += 1
        return self.first <= self.arrivals < self.first + self.times


def _trap(when: str, action: str) -> _Trap:
    if when == "*":
        return _Trap(action, times=math.inf)
    if when.startswith("+"):
        return _Trap(action, times=math.inf, beyond=int(when))
    first, _, times = when.partition("x")
    return _Trap(action, first=int(first or 1), times=int(times or 1))


def _parse(text: str) -> dict[str, list[_Trap]]:
    traps: dict[str, list[_Trap]] = {}
    for part in filter(None, text.split(",")):
        place, equals, action = part.partition("=")
        name, _, when = place.partition("@")
        if not name or not equals or not action:
            raise BadSettingError(f"{VARIABLE}: {part!r} is not accepted; accepted: name=action or name@n=action")
        traps.setdefault(name, []).append(_trap(when, action))
    return traps


_traps: dict[str, list[_Trap]] = {}
_guard = threading.Lock()


def arm(text: str) -> None:
    """Arm these places, written as the variable is, and no others."""
    traps = _parse(text)
    _traps.clear()
    _traps.update(traps)


arm(os.environ.get(VARIABLE, ""))


def reach(name: str, byte: int | None = None) -> None:
    """Do what a test has armed at this place; without a test nothing, at no cost.

    `byte` is the end of the next read from a file. May block, so that a test sees the process exactly here. Raises
    OSError if the test asks for one.
    """
    if _traps:
        _spring(name, byte)


def _spring(name: str, byte: int | None) -> None:
    for trap in _traps.get(name, ()):
        with _guard:
            springs = trap.springs(byte)
        if springs:
            _act(name, trap.action)


def _act(name: str, does: str) -> None:
    action, _, argument = does.partition(":")
    match action:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "term":
            os.kill(os.getpid(), signal.SIGTERM)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "wait":
            _wait(Path(argument))
        case _:
            number = getattr(errno, action)
            raise OSError(number, os.strerror(number), name)


def _wait(path: Path) -> None:
    path.touch()
    while path.exists():
        time.sleep(_POLL)
