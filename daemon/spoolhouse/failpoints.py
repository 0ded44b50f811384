"""Named places in the code that a test can arm: to die there, to stop, to wait, or to meet an error of the disk.

Inert unless `SPOOLHOUSE_TEST_FAILPOINTS` is set when the process starts; then it is a comma-separated list of
`name[@n]=action`. The action is taken the n-th time that the place is reached: by default the first, `*` is each.
The actions: `kill` (SIGKILL, nothing is cleaned up), `term` and `stop` (SIGTERM and SIGSTOP to this process),
`wait:FILE` (make FILE on arrival, and go on when it is gone), and an errno's name such as `ENOSPC` (raise it).
"""

import errno
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from spoolhouse.errors import BadSettingError

VARIABLE = "SPOOLHOUSE_TEST_FAILPOINTS"
_LOOK = 0.005


@dataclass(slots=True, kw_only=True)
class _Trap:
    action: str
    at: int | None
    """Which arrival springs it; None is each."""
    arrivals: int = 0

    def springs(self) -> bool:
        self.arrivals += 1
        return self.at is None or self.arrivals == self.at


def _parse(text: str) -> dict[str, _Trap]:
    traps = {}
    for part in filter(None, text.split(",")):
        place, equals, action = part.partition("=")
        name, _, count = place.partition("@")
        if not name or not equals or not action:
            raise BadSettingError(f"{VARIABLE}: {part!r} is not accepted; accepted: name=action or name@n=action")
        traps[name] = _Trap(action=action, at=None if count == "*" else int(count or 1))
    return traps


_traps = _parse(os.environ.get(VARIABLE, ""))
_guard = threading.Lock()


def reach(name: str) -> None:
    """Do what a test has asked for at this place; nothing, and at no cost, where nothing was asked.

    May block, so that what a test sees is the process exactly here. Raises OSError where the test wants one.
    """
    if _traps:
        _spring(name)


def _spring(name: str) -> None:
    trap = _traps.get(name)
    if trap is None:
        return
    with _guard:
        if not trap.springs():
            return
    action, _, argument = trap.action.partition(":")
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
        time.sleep(_LOOK)
