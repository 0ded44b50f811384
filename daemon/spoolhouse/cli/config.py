"""`spoolhouse config`: every setting, with its default and its meaning."""

import argparse
import sys

_EPILOG = """\
It prints defaults, and reads no file, environment or flag. `spoolhouse check`
validates your own file.

examples:
  spoolhouse config > /etc/spoolhouse/spoolhouse.toml
  spoolhouse config --markdown | less

exit codes:
   0  printed
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "config",
        usage="spoolhouse config [--markdown]",
        help="print every setting with its default and its meaning",
        description="Print every setting with its default and its meaning, as a TOML file.",
        epilog=_EPILOG,
    )
    parser.add_argument("--markdown", action="store_true", help="print a page of tables")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the settings; return the exit code."""
    from spoolhouse.settings.reference import as_markdown, as_toml  # noqa: PLC0415  # --help needs no reference

    sys.stdout.write(as_markdown() if options.markdown else as_toml())
    return 0
