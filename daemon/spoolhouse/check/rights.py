"""Which of the rights that are needed the user lacks, each with the GRANT that gives it."""

from collections.abc import AsyncIterator

from spoolhouse.check.finding import Finding, fault, good, unknown
from spoolhouse.core.ports import Driver
from spoolhouse.errors import StoreError
from spoolhouse.schema.ddl import identifier, qualified
from spoolhouse.schema.render import Schema, holding_rows

SUBJECT = "rights"
_SYNTAX_ERROR = 62
_FEW = 2
_ROWS = ("SELECT", "INSERT")
_SCHEMA = ("CREATE TABLE", "CREATE VIEW", "DROP VIEW", "ALTER TABLE")
_MEND = ("CREATE TABLE", "DROP TABLE", "ALTER DELETE")
"""Needed to bring what is missing of a batch to where it is missing: by way of a table of its own, which is dropped."""
_ENGINE = "TABLE ENGINE"
"""Needed where the server asks for it; elsewhere everybody has it."""
_SYSTEM = ("tables", "columns", "parts", "settings", "merge_tree_settings", "data_skipping_indices", "processes")
"""What is read of the server itself; a user may unless `select_from_system_db_requires_grant` is on."""
_SYNC = "SYSTEM SYNC REPLICA"
"""Needed with several hosts: what is not found on one that has not fetched all proves nothing."""
_OF_REPLICAS = ("replicas", "replication_queue")


async def examine(schema: Schema, driver: Driver, *, user: str, migrates: bool, syncs: bool) -> AsyncIterator[Finding]:
    """Yield what is found. `migrates`: the schema is brought up to date at start. `syncs`: there are several hosts."""
    database = schema.database or "default"
    names = [qualified(database, name) for name in holding_rows(schema)]
    wanted = [(right, name) for right in (*_ROWS, *((_SYNC,) if syncs else ())) for name in names]
    wanted += [(right, f"{identifier(database)}.*") for right in _MEND]
    if migrates:
        wanted += [(right, f"{identifier(database)}.*") for right in _SCHEMA if right not in _MEND]
        wanted += [(_ENGINE, engine) for engine in _engines(schema)]
    try:
        missing = [(right, where) for right, where in wanted if not await _has(driver, right, where)]
    except StoreError as error:
        if error.code != _SYNTAX_ERROR:
            yield unknown(SUBJECT, error)
            return
        missing = []  # CHECK GRANT is not known to older servers; the probe tries what matters
    for right in dict.fromkeys((*_ROWS, _SYNC, *_MEND, *_SCHEMA, _ENGINE)):
        if places := [where for lacking, where in missing if lacking == right]:
            yield _lacking(user, right, places, f"{identifier(database)}.*")
    if not missing:
        yield good(SUBJECT, f"{user} may select, insert" + (" and change the schema" if migrates else ""))
    for table in (*_SYSTEM, *(_OF_REPLICAS if syncs else ())):
        try:
            await driver.execute(f"SELECT 1 FROM system.{table} LIMIT 0")  # noqa: S608  # constants
        except StoreError as error:
            why = "what is in the server is read there"
            yield fault(SUBJECT, f"{user} cannot read system.{table}: {error.message}", why=why, mend=error.mend)


async def _has(driver: Driver, right: str, where: str) -> bool:
    ((granted,),) = await driver.execute(f"CHECK GRANT {right} ON {where}")
    return bool(granted)


def _engines(schema: Schema) -> list[str]:
    tables = [event.table for event in schema.tables]
    targets = [rollup.target for event in schema.tables for rollup in event.rollups]
    return sorted({definition.engine for definition in (*tables, *targets)})


def _lacking(user: str, right: str, places: list[str], everywhere: str) -> Finding:
    # The whole database where there are many: nobody wants to copy twenty statements.
    where = places if len(places) <= _FEW else [everywhere]
    mend = "; ".join(f"GRANT {right} ON {place} TO {identifier(user)}" for place in where)
    if right in {*_ROWS, _SYNC}:
        why = "rows cannot be landed, or looked for"
    elif right in _MEND:
        why = "a batch of which a crash has left a part cannot be completed, and its table is held"
    else:
        why = "the schema cannot be brought up to date"
    return fault(SUBJECT, f"{user} lacks {right} on {', '.join(where)}", why=why, mend=mend)
