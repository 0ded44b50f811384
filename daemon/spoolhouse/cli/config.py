"""`spoolhouse config`: every setting, with its default and its meaning."""

import argparse
import sys

_EPILOG = """\
It prints defaults: no file, no environment and no flag is read. `spoolhouse
check` says whether a file of yours is accepted.

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
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--markdown", action="store_true", help="print them as a page of tables")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print them; return the exit code."""
    from spoolhouse.settings.reference import as_markdown, as_toml  # noqa: PLC0415  # --help needs no reference

    sys.stdout.write(as_markdown() if options.markdown else as_toml())
    return 0
