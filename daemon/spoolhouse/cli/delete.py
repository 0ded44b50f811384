"""`spoolhouse delete`: deletes traces with their spans, logs, scores and feedback, for privacy."""

import argparse
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import to_builtins

from spoolhouse.cli import asking, flags
from spoolhouse.cli.words import counted
from spoolhouse.monitoring.logs import shown

if TYPE_CHECKING:
    from spoolhouse.recover.ports import Deleted
    from spoolhouse.settings import Settings

_EPILOG = """\
The rows are gone from the tables when the command ends, and no replay brings
them back; a DuckDB file may hold their bytes until it uses their room again.
Deleting what is not there is harmless; if the command is killed, run it again.
Metrics, the events of agents, and figures in rollups stay. The files that
brought the rows may still hold the bytes, in processed/ or rejected/: the
command names them.

A line of a deleted trace that lands for the first time later is a new one:
from a producer, by `replay --rejected` or by `retry`. Run the command again.

examples:
  spoolhouse delete traces 4bf92f3577b34da6a3ce929d0e0e4736 --project shop
  spoolhouse delete scores s1 s2 --project shop --json
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    kinds = ("traces", "scores", "feedback")
    parser = commands.add_parser(
        "delete",
        usage="spoolhouse delete WHAT ID … --project NAME [options]",
        help="delete traces with their spans, logs, scores and feedback",
        description="Delete traces with their spans, logs, scores and feedback;\nor single scores or feedback.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("what", choices=kinds, metavar="WHAT", help=", ".join(kinds))
    parser.add_argument("ids", nargs="+", metavar="ID", help="up to 1000 ids")
    parser.add_argument("--project", required=True, metavar="NAME", help="the project, required")
    parser.add_argument("--json", action="store_true", help="print an object")
    flags.add_clickhouse(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Delete; return the exit code."""
    deleted = asyncio.run(_delete(options))
    if options.json:
        print(json.dumps(to_builtins(deleted)))
        return 0
    print("deleted: " + ", ".join(f"{counted(count, 'row')} of {table}" for table, count in deleted.rows.items()))
    if deleted.files:
        asking.say("their bytes may still be in these files, in processed/ or rejected/ beside them:")
        for file in deleted.files:
            asking.say(f"  {shown(file)}")
    return 0


async def _delete(options: argparse.Namespace) -> "Deleted":
    settings = flags.settings(options)
    if settings.store.path is not None:
        return await _delete_in_file(options, settings, settings.store.path)
    from spoolhouse.events.registry import load  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.service.clickhouse import open_shards, schema_of  # noqa: PLC0415  # nor this
    from spoolhouse.store.clickhouse.query.deletion import delete  # noqa: PLC0415  # nor this

    servers = open_shards(settings)
    try:
        schema = schema_of(settings, load(settings.events))
        return await delete(
            servers, schema, settings.clickhouse.table_prefix, options.what, project=options.project, ids=options.ids
        )
    finally:
        for server in servers:
            await server.close()


async def _delete_in_file(options: argparse.Namespace, settings: "Settings", path: Path) -> "Deleted":
    from spoolhouse.service.duckdb import open_database  # noqa: PLC0415  # --help needs none of this
    from spoolhouse.store.duckdb.deletion import delete  # noqa: PLC0415  # nor this

    database = open_database(settings, path)
    try:
        prefix = settings.clickhouse.table_prefix
        return await delete(database, prefix, options.what, project=options.project, ids=options.ids)
    finally:
        await database.close()
