"""`spoolhouse ingest`: the daemon, as a person or a service manager starts it."""

import argparse
import asyncio
import faulthandler
import importlib
import importlib.util
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from spoolhouse.cli import flags
from spoolhouse.monitoring import logs
from spoolhouse.service import signals

if TYPE_CHECKING:
    from spoolhouse.settings import Settings

_EPILOG = """\
Files are taken from {file-storage-path}/{base-path}/{type}/{project}/ if their
names end in .jsonl, .ndjson or .json, or in log/ in .log, each also with .gz,
.zst, .bz2 or .xz (spool.names), and end in processed/ beside them.
Lines that are no valid events are kept in rejected/, with the reason. Ctrl-C or
SIGTERM ends it cleanly, a second one at once; in either case, and after a
crash, the next start goes on where this one ended. SIGHUP reads the settings
again (on a terminal, and with --once, it ends the process).

examples:
  spoolhouse ingest --file-storage-path /var/spool \\
      --clickhouse-url clickhouse://db:9000
  spoolhouse ingest --file-storage-path /var/spool \\
      --store-url duckdb:///var/lib/spoolhouse/events.db
  spoolhouse ingest --config /etc/spoolhouse/spoolhouse.toml --once
  SPOOLHOUSE_CLICKHOUSE__PASSWORD_FILE=/run/secrets/db spoolhouse ingest

exit codes:
   0  stopped, or (--once) everything is ingested
   1  crashed, or (--once) something is left over
  69  (--once) the store is unavailable
  75  out of time while stopping
  78  a wrong setting
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ingest",
        usage="spoolhouse ingest [--once] [options]",
        help="land the files of the spool in the store, and keep watching",
        description="Land the files of the spool in ClickHouse or DuckDB, and keep watching for more.",
        epilog=_EPILOG,
    )
    parser.add_argument("--once", action="store_true", help="ingest all that is pending, then exit")
    _add_settings(parser)
    flags.add_spool(parser)
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--file-storage-type", dest="spool.storage_type", choices=("local",), help="where the spool is (default: local)"
    )
    parser.add_argument(
        "--poll-interval",
        dest="spool.poll_interval_ms",
        type=flags.count,
        metavar="MS",
        help="milliseconds between two scans, for what the watcher missed (default: 10000)",
    )
    parser.add_argument(
        "--batch-size",
        dest="batch.max_files",
        type=flags.count,
        metavar="FILES",
        help="files that travel together at most (default: 2000)",
    )
    parser.add_argument(
        "--delete-after-process",
        dest="spool.delete_after_process",
        action="store_const",
        const=True,
        help="delete a file once its last row is acknowledged",
    )
    parser.add_argument(
        "--project-id", dest="spool.project_id", metavar="ID", help="take only the files of this project"
    )
    parser.add_argument(
        "--no-migrate",
        dest="clickhouse.migrate",
        action="store_const",
        const=False,
        help="leave the schema alone; the tables have to be there",
    )


def run(options: argparse.Namespace) -> int:
    """Run the daemon; return its exit code."""
    faulthandler.enable()  # a watchdog's SIGABRT, or a crash in a library, shows what each thread was at
    # A run that a person watches, or that has an end, ends with its terminal; a daemon's SIGHUP is a reload.
    reloads = not options.once and not sys.stderr.isatty()
    with signals.held_back((*signals.STOPPING, *(signals.RELOADING if reloads else ()))):
        return _run(options, reloads=reloads)


def _run(options: argparse.Namespace, *, reloads: bool) -> int:
    settings = flags.settings(options)
    root = settings.spool.root
    if _password_by_flag(options):
        structlog.get_logger().warning(
            "password_on_command_line",
            hint="others can read it in the process list: use SPOOLHOUSE_CLICKHOUSE__PASSWORD_FILE",
        )
    from spoolhouse.service import run  # noqa: PLC0415  # it brings the drivers along, which --help does not need

    if not _wants_display(settings):
        reread = (lambda: flags.read(options)) if reloads else None
        return _in_loop(lambda: run.run(settings, once=options.once, reread=reread))
    # The display shows progress; the logs above it are for problems.
    level = "warning" if settings.log.level == "info" else settings.log.level
    logs.configure(level=level, secrets=settings.secrets())
    from spoolhouse.cli.display import Display  # noqa: PLC0415  # nor does a daemon need rich

    print(_intention(settings, once=options.once), file=sys.stderr)
    with Display(spool=root, once=options.once) as display:
        code = _in_loop(lambda: run.run(settings, once=options.once, progress=display))
    display.summary()
    return code


def _password_by_flag(options: argparse.Namespace) -> bool:
    flags_given = vars(options)
    url = flags_given["store.url"] or flags_given["clickhouse.url"] or ""
    user = urlsplit(url).netloc.rpartition("@")[0]
    return flags_given["clickhouse.password"] is not None or ":" in user


def _wants_display(settings: "Settings") -> bool:
    """Tell whether a person is watching who did not ask for the log itself."""
    return sys.stderr.isatty() and settings.log.format == "auto" and settings.log.level != "debug"


def _intention(settings: "Settings", *, once: bool) -> str:
    clickhouse, spool = settings.clickhouse, settings.spool
    into = f"{clickhouse.url}, database {clickhouse.database}"
    if settings.store.path is not None:
        into = logs.shown(settings.store.path)
    of_project = "" if spool.project_id is None else f" of project {spool.project_id}"
    after = "deleted" if spool.delete_after_process else "moved to processed/ beside them"
    return (
        f"Ingesting {logs.shown(spool.root)}/{{type}}/{{project}}/{logs.shown(of_project)}\n"
        f"into {into}, tables {clickhouse.table_prefix}*.\n"
        f"Files are {after} when their last row is acknowledged.\n"
        + ("It ends when nothing is pending.\n" if once else "It keeps watching; Ctrl-C stops it.\n")
    )


def _in_loop(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())
