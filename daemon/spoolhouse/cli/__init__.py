"""The console script. One module per command; this package is the only place that turns outcomes into exit codes."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Any, NoReturn

from spoolhouse import __version__
from spoolhouse.errors import BadRequestError, BadSettingError, SpoolError, SpoolhouseError, StoreError, describe
from spoolhouse.service import runtime_tuning

OK = 0
FAILED = 1
BAD_REQUEST = 2
UNAVAILABLE = 69
BAD_SETTING = 78
INTERRUPTED = 130
PIPE_CLOSED = 141

_CODES = (
    (BadRequestError, BAD_REQUEST),
    (BadSettingError, BAD_SETTING),
    # The spool's folder is a setting: a wrong one, or not ready.
    (SpoolError, BAD_SETTING),
    (StoreError, UNAVAILABLE),
    (SpoolhouseError, FAILED),
)

_COMMANDS = {
    "ingest": "land the files of the spool in the store, and keep watching",
    "status": "tell how the daemon does: rates, backlog, held tables, rejects",
    "check": "find what will fail, and how to fix it",
    "config": "print every setting with its default and its meaning",
    "pause": "stop all instances of a spool from claiming files",
    "resume": "let them claim again",
    "release": "put back files that dead daemons claimed and never sent",
    "migrate": "create the tables, or bring them up to date",
    "generate": "write sample events into the spool",
    "types": "list the event types, their fields, and an example of each",
    "explain": "show what becomes of the lines of a file, or why they are rejected",
    "tables": "list the tables: engine, rows, size, oldest and newest event",
    "trace-file": "show which rows came from a file, or which files a batch came from",
    "replay": "resubmit rejected lines, or restore rows that the store has lost",
    "retry": "move files of failed/ back to where they were dropped",
    "verify": "compare processed files with the store, row by row",
    "traces": "list traces",
    "spans": "list spans",
    "logs": "list log records",
    "metrics": "list measurements",
    "scores": "list scores",
    "feedback": "list feedback",
    "events": "list the events of agents",
    "trace": "show one trace: its spans as a waterfall, logs, scores and feedback",
    "runs": "list the runs of agents, or show one",
    "figures": "count, sum, rate, percentiles: by group and by interval",
    "values": "list the names, labels, services, models … that occur",
    "sql": "run a SELECT of your own",
    "serve": "show what has landed in a browser",
    "copy": "copy events from a DuckDB file into another store",
    "delete": "delete traces with their spans, logs, scores and feedback",
}
"""The help of each command. A command's module is imported on demand: imports are most of its cost."""
_MODULES = {"resume": "pause", "trace-file": "trace_file"} | dict.fromkeys(
    ("traces", "spans", "logs", "metrics", "scores", "feedback", "events"), "lists"
)
"""Modules that are not named like their command; `pause` adds both of its own."""

_EPILOG = """\
examples:
  # Make sample events, and land them in a DuckDB file:
  export SPOOLHOUSE_SPOOL__STORAGE_PATH="$PWD/var/spool"
  export SPOOLHOUSE_STORE__URL="duckdb://$PWD/var/events.db"
  spoolhouse generate
  spoolhouse ingest --once
  spoolhouse tables

settings:
  Every setting has a name such as clickhouse.url. The first source that gives
  it wins: a flag; SPOOLHOUSE_CLICKHOUSE__URL in the environment; url under
  [clickhouse] in a TOML file (--config, else SPOOLHOUSE_CONFIG, else
  /etc/spoolhouse/spoolhouse.toml); the default. `spoolhouse config` prints
  them all, with their defaults and meanings.

exit codes:
   0  done
   1  crashed, or not everything is done
   2  wrong flags
  66  a file cannot be read (explain)
  69  the store is unavailable
  75  out of time while stopping; the next start continues
  78  a wrong setting
 130  interrupted
"""


class _Parser(argparse.ArgumentParser):
    """Prints epilogs as they are written, takes no abbreviated flags, and names those that it takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the options; an unknown argument ends the process here, where the command's flags are known."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = ", ".join(dict.fromkeys(flag for one in self._actions for flag in one.option_strings[-1:]))
            accepted = f"; accepted: {known}" if unknown[0].startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{accepted}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """End the process with a message."""
        if message.endswith("expected one argument"):
            message += "; one that begins with - is written behind =, as --order=-time"
        super().error(message)


def parser(chosen: str = "") -> argparse.ArgumentParser:
    """Return the parser of the command line; only the `chosen` command has its flags."""
    result = _Parser(
        prog="spoolhouse",
        usage="spoolhouse COMMAND [options]",
        description="Lands JSONL files of observability events in ClickHouse or DuckDB,\neach line exactly once.",
        epilog=_EPILOG,
    )
    result.add_argument("--version", action="version", version=f"spoolhouse {__version__}")
    commands: argparse._SubParsersAction[argparse.ArgumentParser] = result.add_subparsers(
        title="commands", metavar="COMMAND", required=True, prog="spoolhouse", parser_class=_Parser
    )
    for name, text in _COMMANDS.items():
        module = _MODULES.get(name, name)
        if module != _MODULES.get(chosen, chosen):
            commands.add_parser(name, help=text, add_help=False)
        elif name not in commands.choices:
            _import_structlog()
            importlib.import_module(f"spoolhouse.cli.{module}").add_to(commands)
    return result


def _import_structlog() -> None:
    """Import structlog as if rich were missing: structlog would import it for tracebacks that are not used here."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # tells the import system that there is none
        try:
            importlib.import_module("structlog")
        finally:
            del sys.modules["rich"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in `arguments` (by default the process's own), and return the exit code.

    Wrong flags end the process with 2, as argparse does. An error is one line on standard error.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # A name that is no UTF-8, or a terminal that is not: show escapes, do not fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Before the imports of a command: collections would take a tenth of their time.
    runtime_tuning.tune_gc()
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return _run(arguments)
    except ModuleNotFoundError as error:
        print(f"spoolhouse: a command needs {error.name}: pip install 'spoolhouse[daemon]'", file=sys.stderr)
        return FAILED


def _run(arguments: Sequence[str]) -> int:
    options = parser(next((word for word in arguments if not word.startswith("-")), "")).parse_args(arguments)
    from spoolhouse.monitoring import logs  # noqa: PLC0415  # --help needs no structlog

    logs.configure()
    debug = getattr(options, "log.level", None) == "debug"
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has closed the pipe. Nothing may be flushed into it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except SpoolhouseError as error:
        return _fail(str(error), next(code for kind, code in _CODES if isinstance(error, kind)))
    except OSError as error:
        return _fail(describe(error), FAILED)
    except Exception as error:  # noqa: BLE001  # the last handler of the process
        hint = None if debug else "--debug shows where"
        what = f"{type(error).__name__}: {error}"
        import structlog  # noqa: PLC0415  # as above

        structlog.get_logger().critical("crashed", error=what, hint=hint, exc_info=debug)
        return FAILED
    return code


def _fail(text: str, code: int) -> int:
    from spoolhouse.monitoring.logs import shown  # noqa: PLC0415  # as above

    print(f"spoolhouse: {shown(text)}", file=sys.stderr)
    return code
