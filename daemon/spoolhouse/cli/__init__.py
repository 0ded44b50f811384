"""The console script. One module a command; this package is the only place that turns outcomes into exit codes."""

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import structlog

from spoolhouse import __version__, log, memory
from spoolhouse.cli import (
    check,
    config,
    generate,
    ingest,
    migrate,
    pause,
    release,
    replay,
    retry,
    status,
    tables,
    trace_file,
    verify,
)
from spoolhouse.errors import BadSettingError, SpoolError, SpoolhouseError, StoreError, spelled

OK = 0
FAILED = 1
UNAVAILABLE = 69
BAD_SETTING = 78
INTERRUPTED = 130
PIPE_CLOSED = 141

_CODES = (
    (BadSettingError, BAD_SETTING),
    # The spool's folder is a setting, and it is the wrong one, or not ready.
    (SpoolError, BAD_SETTING),
    (StoreError, UNAVAILABLE),
    (SpoolhouseError, FAILED),
)

_EPILOG = """\
examples:
  # Make sample events, and land them in a ClickHouse embedded in the process:
  export SPOOLHOUSE_SPOOL__STORAGE_PATH="$PWD/var/spool"
  export SPOOLHOUSE_CLICKHOUSE__URL="chdb://$PWD/var/clickhouse"
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
   1  crashed, or something is left undone
   2  wrong flags
  69  ClickHouse is unavailable
  75  out of time while stopping; the next start goes on from there
  78  a wrong setting
 130  interrupted
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    result = argparse.ArgumentParser(
        prog="spoolhouse",
        usage="spoolhouse COMMAND [options]",
        description="Lands JSONL files of observability events in ClickHouse, each line exactly once.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("--version", action="version", version=f"spoolhouse {__version__}")
    commands = result.add_subparsers(title="commands", metavar="COMMAND", required=True, prog="spoolhouse")
    for command in (
        ingest,
        status,
        check,
        config,
        pause,
        release,
        migrate,
        generate,
        tables,
        trace_file,
        replay,
        retry,
        verify,
    ):
        command.add_to(commands)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that `arguments` (by default the process's own) ask for, and return the exit code.

    Wrong flags end the process with 2, as argparse does. What went wrong is said in one line on standard error.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # A name that is no UTF-8, or a terminal that is not: show escapes, do not fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    memory.calm_the_collector()
    log.configure()
    options = parser().parse_args(arguments)
    debug = getattr(options, "log.level", None) == "debug"
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has read enough. Nothing may be flushed into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except SpoolhouseError as error:
        return _fail(str(error), next(code for kind, code in _CODES if isinstance(error, kind)))
    except OSError as error:
        return _fail(spelled(error), FAILED)
    except Exception as error:  # noqa: BLE001  # the last handler of the process
        mend = None if debug else "--debug shows where"
        what = f"{type(error).__name__}: {error}"
        structlog.get_logger().critical("crashed", error=what, mend=mend, exc_info=debug)
        return FAILED
    return code


def _fail(text: str, code: int) -> int:
    print(f"spoolhouse: {log.shown(text)}", file=sys.stderr)
    return code
