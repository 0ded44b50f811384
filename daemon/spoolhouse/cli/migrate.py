"""`spoolhouse migrate`: compare the schema, and bring it up to date."""

import argparse
import asyncio
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import flags
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from spoolhouse.settings import Settings
    from spoolhouse.store.clickhouse.schema.migration_steps import BackfillStep, Plan
    from spoolhouse.store.duckdb.schema import FilePlan
    from spoolhouse.store.migration import Change, Refusal

_EPILOG = """\
Adds the missing objects: the database, tables, columns, codecs, indexes, longer
TTLs, settings, rollups. A rollup that is younger than its rows, or has a new
version, counts those rows; daemons may insert meanwhile, and it is shown once
it is complete. A change that would lose, rewrite or recount data is refused,
and listed with an action for a person. Other objects are left alone.

migrate may be interrupted, repeated, and run several times at once.

examples:
  spoolhouse migrate --clickhouse-url http://localhost:8123
  spoolhouse migrate --check || echo "the schema differs"
  spoolhouse migrate --plan | less
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
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--check", action="store_true", help="change nothing; list the differences, exit 1 if there are any"
    )
    ways.add_argument("--plan", action="store_true", help="change nothing; print the statements that would run")
    ways.add_argument("--print", action="store_true", help="print the whole schema as SQL; needs no server")
    parser.add_argument(
        "--no-backfill", action="store_true", help="leave rollups that lack rows for a later run; they count new rows"
    )
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Migrate, check or print; return the exit code."""
    settings = flags.settings(options)
    if settings.store.path is not None:
        changes = not (options.print or options.check or options.plan)
        is_empty = options.print or not (changes or settings.store.path.exists())
        return asyncio.run(_migrate_file(options, settings, settings.store.path, changes=changes, is_empty=is_empty))
    if options.print:
        from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs no schema
        from spoolhouse.service.clickhouse import schema_of  # noqa: PLC0415  # --help needs no schema
        from spoolhouse.store.clickhouse.schema.render import script  # noqa: PLC0415  # --help needs no schema

        sys.stdout.write(script(schema_of(settings, load(settings.events), qualified=False)))
        return 0
    return asyncio.run(_migrate(options, settings))


async def _migrate(options: argparse.Namespace, settings: "Settings") -> int:
    from spoolhouse.cli.migration_report import reporting  # noqa: PLC0415  # as in `run`
    from spoolhouse.events.registry import load  # noqa: PLC0415  # as in `run`
    from spoolhouse.service.clickhouse import open_driver, schema_of  # noqa: PLC0415  # --help needs none of it
    from spoolhouse.store.clickhouse.schema.migrate import apply, check  # noqa: PLC0415  # as in `run`

    clickhouse = settings.clickhouse
    schema = schema_of(settings, load(settings.events))
    # The schema's own database may be missing, and a connection to it would fail.
    driver = open_driver(settings, database="default")
    try:
        todo = await check(schema, driver)
        if options.plan:
            _print_script(todo)
        elif not options.check and todo.steps:
            with reporting(len(todo.changes)) as report:
                await apply(todo, driver, progress=report, most_rows=0 if options.no_backfill else None)
            todo = await check(schema, driver)
    finally:
        await driver.close()
    return 0 if options.plan else _report(clickhouse.database, todo, done=not options.check)


async def _migrate_file(
    options: argparse.Namespace, settings: "Settings", path: Path, *, changes: bool, is_empty: bool
) -> int:
    """Do the same with a DuckDB file. One that is missing is compared as if it were empty, and is made by changes."""
    from spoolhouse.events.registry import load  # noqa: PLC0415  # as in `run`
    from spoolhouse.service.duckdb import tables_of  # noqa: PLC0415  # as in `run`
    from spoolhouse.store.duckdb.database import IN_MEMORY, Database  # noqa: PLC0415  # as in `run`
    from spoolhouse.store.duckdb.store import DuckDbStore  # noqa: PLC0415  # as in `run`

    tables = tables_of(load(settings.events))
    place, reads = (IN_MEMORY, False) if is_empty else (path, not changes)
    database = Database(place, memory=settings.duckdb.memory, read_only=reads)
    try:
        store = DuckDbStore(database, prefix=settings.clickhouse.table_prefix)
        if changes:
            await store.prepare(tables)
        todo = await store.plan(tables)
    finally:
        await database.close()
    if options.print or options.plan:
        _print_script(todo)
        return 0
    return _report(str(path), todo, done=not options.check)


def _report(name: str, todo: "Plan | FilePlan", *, done: bool) -> int:
    """Print what differs; return the exit code."""
    sys.stdout.writelines(f"{shown(line)}\n" for line in _difference(todo))
    if todo.empty:
        print(f"{name} agrees with the declared schema.", file=sys.stderr)
        return 0
    print(f"{name}: {_summary(todo, done=done)}", file=sys.stderr)
    return 1


def _print_script(todo: "Plan | FilePlan") -> None:
    """Print the statements on stdout, or say on stderr that there are none."""
    sys.stdout.writelines(f"{line}\n" for line in _script(todo))
    if todo.empty:
        print("nothing to do", file=sys.stderr)


def _script(todo: "Plan | FilePlan") -> Iterator[str]:
    """Yield the statements to run, and the refused ones as comments."""
    for change in todo.changes:
        yield f"-- {change.name}: {change.what}\n{change.statement};\n"
    for refusal in todo.refusals:
        yield f"-- refused: {refusal}"
        yield from (f"--   {line}" for line in f"{refusal.statement};".splitlines())
        yield ""


def _difference(todo: "Plan | FilePlan") -> Iterator[str]:
    """Yield the differences, by table or view: + is added, ~ is changed, - is removed, ! only a person may settle."""
    steps: dict[str, list[Change | BackfillStep | Refusal]] = {}
    for step in (*todo.changes, *todo.refusals):
        steps.setdefault(step.name, []).append(step)
    for name, of_it in steps.items():
        yield name
        for step in of_it:
            yield from (f"  {line}" for line in _lines(step))


def _lines(step: "Change | BackfillStep | Refusal") -> Iterable[str]:
    from spoolhouse.store.migration import Refusal  # noqa: PLC0415  # as in `run`

    if not isinstance(step, Refusal):
        return [step.what]
    statement = " ".join(step.statement.split())
    hint = step.hint or "run it yourself, if the data may be rewritten or lost"
    return [f"! {step.reason}", f"    refused: {statement}", f"    instead: {hint}"]


def _summary(todo: "Plan | FilePlan", *, done: bool) -> str:
    refused, missing = len(todo.refusals), len(todo.changes)
    parts = []
    if missing:
        parts.append(f"{missing} left to do: run `spoolhouse migrate`" + (" again" if done else ""))
    if refused:
        parts.append(f"{refused} refused: only a person may settle {'it' if refused == 1 else 'them'}")
    return "; ".join(parts)
