"""`spoolhouse status`: the status of a spool and its daemons, by their own reports or by their folders."""

import argparse
import json
import socket
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from spoolhouse.cli import flags
from spoolhouse.errors import BadSettingError
from spoolhouse.monitoring.client import fetch
from spoolhouse.monitoring.logs import printable
from spoolhouse.monitoring.status_model import FileCount, Status

if TYPE_CHECKING:
    from spoolhouse.settings import Settings
    from spoolhouse.settings.spool import SpoolSettings
    from spoolhouse.spool.inspect import Leftovers

_EPILOG = """\
Without --url it reads the spool: its pending, claimed, rejected and failed
files, and its instances. It asks the instances that answer for the rest. An
instance that holds its lock and makes no progress is named, with its process.
If no spool is named either, it asks the daemon that listens at http.listen on
this machine.

examples:
  spoolhouse status
  spoolhouse status --file-storage-path /var/spool
  spoolhouse status --file-storage-path /var/spool --watch
  spoolhouse status --url http://127.0.0.1:9464 --json | jq .instances

exit codes:
   0  a daemon runs, and nothing needs a person
   1  no daemon runs, or one is paused, held, stuck, stopped or does not answer
  78  a wrong setting, no such spool, or no spool and no daemon to ask
"""

_FOLDERS_EVERY = 5.0
_FOLDERS_SHARE = 20.0
_SHORTEST, _LONGEST = 0.05, 86400.0
"""Seconds between two refreshes of --watch."""
_MOST_NOT_TAKEN = 1000
OK = 0
NEEDS_A_PERSON = 1

_WORKS = frozenset({"running", "starting", "stopping", "elsewhere"})
FINE = _WORKS | {"adopted", "ended"}
"""Every other state needs somebody, or a moment."""


class Report(Struct, frozen=True, kw_only=True):
    """A spool, and the daemons that work on it."""

    spool: str | None
    at: float
    pending: FileCount | None
    oldest_seconds: float
    paused: str | None
    """Since when, and why; None while it is not."""
    not_taken: list[str]
    """Files of the spool that will not be taken, with the reasons."""
    ends: "Leftovers | None"
    instances: list[Status]

    @property
    def fine(self) -> bool:
        """A daemon runs, and none of them needs a person."""
        states = {status.state for status in self.instances}
        return bool(states & _WORKS) and states <= FINE

    @property
    def is_deserted(self) -> bool:
        """No daemon works on the spool, and none has left work behind."""
        return all(status.state == "ended" for status in self.instances)


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        usage="spoolhouse status [--watch | --json] [--url URL] [options]",
        help="tell how the daemon does: rates, backlog, held tables, rejects",
        description="Tell how the daemons of a spool do, and what waits there.",
        epilog=_EPILOG,
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print one JSON object")
    how.add_argument("--watch", action="store_true", help="show it live; Ctrl-C ends it")
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two looks of --watch (default: 1)"
    )
    parser.add_argument("--url", type=flags.url, help="ask this daemon, and look into no folder")
    flags.add_spool(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print or show the report; return the exit code."""
    settings = flags.settings(options)
    survey: Callable[[], Report]
    if options.url is not None:
        survey = partial(_ask, options.url)
    elif settings.spool.storage_path is None:
        survey = partial(_ask, _of_this_machine(settings))
    else:
        root = flags.spool(settings)
        from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of it

        survey = Survey(root, settings.spool, load(settings.events).keys())
    if options.json:
        report = survey()
        print(json.dumps(msgspec.to_builtins(report), indent=2))
        return OK if report.fine else NEEDS_A_PERSON
    from spoolhouse.cli import status_view  # noqa: PLC0415  # neither --help nor --json needs rich

    if options.watch:
        return status_view.watch(survey, options.interval)
    report = survey()
    status_view.show(report)
    return OK if report.fine else NEEDS_A_PERSON


def _seconds(text: str) -> float:
    """Return a time between two refreshes: no busy loop, and no longer than a clock can count."""
    seconds = flags.rate(text)
    if not _SHORTEST <= seconds <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not from {_SHORTEST:g} to {_LONGEST:g} seconds")
    return seconds


def _of_this_machine(settings: "Settings") -> str:
    """Return the URL of the daemon that listens by these settings. Raises `BadSettingError` if none answers."""
    no_spool = "spool.storage_path: not given (--file-storage-path)"
    if settings.http.address is None:
        raise BadSettingError(f"{no_spool}, and http.listen is off; name a spool, or a daemon with --url")
    host, port = settings.http.address
    # A daemon that listens at any address answers at the loopback one.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # nothing is bound
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    answer = fetch(url)
    if isinstance(answer, str):
        raise BadSettingError(
            f"{no_spool}, and no daemon answers at {url} ({answer}); name a spool, or a daemon with --url"
        )
    return url


def _ask(url: str) -> Report:
    """Return the report of one daemon, without reading any folder."""
    answer = fetch(url)
    now = time.time()
    if isinstance(answer, Status):
        status = replace(answer, url=url)
    else:
        status = Status(
            instance=None, state="silent", why=answer, pid=None, host=None, spool=None, at_ms=round(now * 1000), url=url
        )
    return Report(
        spool=status.spool,
        at=now,
        pending=None,
        oldest_seconds=0.0,
        paused=status.paused,
        not_taken=[],
        ends=None,
        instances=[status],
    )


class Survey:
    """Scans a spool, and asks the daemons that work on it.

    The daemons are asked each time. A scan may take long, so it is repeated the less often the longer it takes.
    """

    def __init__(self, root: Path, spool: "SpoolSettings", types: Collection[str]) -> None:
        """Survey the spool `root` with these settings; files of these types count as pending."""
        self._root = root
        self._types = types
        self._spool = spool
        self._last: Report | None = None
        self._due = 0.0

    def __call__(self) -> Report:
        """Return the report."""
        from spoolhouse.spool import inspect, pause_flag  # noqa: PLC0415  # --help needs none of it

        began = time.monotonic()
        if self._last is None or began >= self._due:
            self._last = self._folders()
            ended = time.monotonic()
            self._due = ended + max(_FOLDERS_EVERY, _FOLDERS_SHARE * (ended - began))
        now = time.time()
        instances = [
            replace(_asked(instance), instance=printable(instance.instance or ""))
            for instance in inspect.instances(self._root, now)
        ]
        return replace(self._last, at=now, paused=pause_flag.paused(self._root), instances=instances)

    def _folders(self) -> Report:
        from spoolhouse.file_names import FileNames  # noqa: PLC0415  # --help needs none of it
        from spoolhouse.pipeline.scan import Ignored, beside, scan  # noqa: PLC0415  # --help needs none of it
        from spoolhouse.spool import inspect  # noqa: PLC0415  # --help needs none of it

        now = time.time()
        pending, oldest, strange = FileCount(), now, dict[str, None]()
        if (other := beside(self._root, self._spool.base_path, self._types)) is not None:
            strange[printable(f"{other.path}: {other.reason}; {other.hint}")] = None
        for item in scan(self._root, self._types, self._spool.project_id, FileNames(self._spool.names)):
            if isinstance(item, Ignored):
                if len(strange) < _MOST_NOT_TAKEN:
                    strange[printable(f"{item.path}: {item.reason}")] = None
            else:
                pending, oldest = pending.plus(item.size), min(oldest, item.mtime_ns / 1e9)
        ends = inspect.leftovers(self._root)
        strange.update(dict.fromkeys(map(printable, ends.unlisted)))
        return Report(
            spool=printable(self._root),
            at=now,
            pending=pending,
            oldest_seconds=round(max(0.0, now - oldest), 1) if pending.files else 0.0,
            paused=None,
            not_taken=list(strange),
            ends=ends,
            instances=[],
        )


def _asked(instance: Status) -> Status:
    """Return an instance's own report, if its folder shows that it runs, and it answers."""
    if instance.state != "running":
        return instance
    process = "its process" if instance.pid is None else f"process {instance.pid}"
    if instance.host not in {None, socket.gethostname()} and (instance.url is None or _is_local(instance.url)):
        return replace(instance, state="elsewhere", why=f"it works, on {instance.host}: ask there")
    if instance.url is None:
        return replace(instance, why="it serves no HTTP (http.listen), so nothing more is known")
    answer = fetch(instance.url)
    if isinstance(answer, Status) and answer.instance == instance.instance:
        return replace(answer, url=instance.url, claimed=instance.claimed, quiet_seconds=instance.quiet_seconds)
    why = "another instance answers" if isinstance(answer, Status) else f"does not answer: {answer}"
    return replace(instance, state="silent", why=f"{process} holds its lock; at {instance.url} {why}")


def _is_local(url: str) -> bool:
    """Tell whether a URL means something else on another host."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "0.0.0.0", "::", "::1"} or host.startswith("127.")  # noqa: S104  # nothing is bound
