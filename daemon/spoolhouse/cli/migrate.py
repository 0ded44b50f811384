"""`spoolhouse migrate`: the schema, compared and brought up to date."""

import argparse
import asyncio
import sys

from spoolhouse.cli import flags
from spoolhouse.settings import Settings

_EPILOG = """\
What is missing (the database, tables, columns, indexes, longer TTLs, rollups)
is added. What would lose, rewrite or recount data is never done: it is listed
with the statement that would do it.

examples:
  spoolhouse migrate --clickhouse-url http://localhost:8123
  spoolhouse migrate --check || echo "not what is declared"
  spoolhouse migrate --print > schema.sql

exit codes:
   0  the database agrees with the declared schema
   1  something differs (--check), or only a person may settle it
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "migrate",
        usage="spoolhouse migrate [--check | --plan | --print] [options]",
        help="create the tables, or bring them up to date",
        description="Create the database, its tables and their rollups, or bring them up to date.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--check", action="store_true", help="change nothing; exit 1 if anything differs")
    ways.add_argument("--plan", action="store_true", help="change nothing; print the statements that would run")
    ways.add_argument("--print", action="store_true", help="print the whole schema as SQL; needs no server")
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Do it; return the exit code."""
    settings = flags.settings(options)
    from spoolhouse.schema.render import declare, script  # noqa: PLC0415  # --help needs no schema

    prefix = settings.clickhouse.table_prefix
    if options.print:
        sys.stdout.write(script(declare(database=None, prefix=prefix, durable=settings.durable)))
        return 0
    return asyncio.run(_migrate(options, settings))


async def _migrate(options: argparse.Namespace, settings: Settings) -> int:
    from spoolhouse.schema.migrate import apply, check  # noqa: PLC0415  # as in `run`
    from spoolhouse.schema.render import declare  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.startup import open_driver  # noqa: PLC0415  # --help needs none of it

    clickhouse = settings.clickhouse
    schema = declare(database=clickhouse.database, prefix=clickhouse.table_prefix, durable=settings.durable)
    # The database itself may be missing, and nobody can connect to that.
    driver = open_driver(settings, database="default")
    try:
        todo = await check(schema, driver)
        if options.plan:
            sys.stdout.writelines(f"{statement};\n" for statement in todo.statements)
        elif options.check:
            for statement in todo.statements:
                print(f"missing: {_first_line(statement)}")
        elif todo.statements:
            await apply(todo, driver)
            for statement in todo.statements:
                print(f"done: {_first_line(statement)}")
            todo = await check(schema, driver)
    finally:
        await driver.close()
    for refusal in todo.refusals:
        print(
            f"refused: {refusal.name}: {refusal.reason}; never run: {_first_line(refusal.statement)}",
            file=sys.stderr if options.plan else sys.stdout,
        )
    if todo.empty:
        print(f"{clickhouse.database} agrees with the declared schema.", file=sys.stderr)
    if options.plan:
        return 0
    return 0 if todo.empty else 1


def _first_line(statement: str) -> str:
    return statement.partition("\n")[0]
