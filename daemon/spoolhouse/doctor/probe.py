"""One row, all the way: a table like ours is made, a batch is landed in it twice, read back, and removed."""

import json
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime

from spoolhouse.decode.rows import Rows
from spoolhouse.doctor.finding import Finding, Level, fault, good, warning
from spoolhouse.errors import StoreError
from spoolhouse.events.builtin import LOGS
from spoolhouse.store.clickhouse.driver import Driver, RowsInsert
from spoolhouse.store.clickhouse.quoting import identifier
from spoolhouse.store.clickhouse.schema.tables import table_definition

SUBJECT = "probe"
_MESSAGE = "is it there? \u00e9 \0 \U0001f388"
_WHY = "a line has to land once, as it was written, however often it is sent"


async def examine(driver: Driver, *, prefix: str, now_ms: int) -> Finding:
    """Try it, and return what came of it. The table is gone afterwards, or named."""
    name = f"{prefix}check_{secrets.token_hex(4)}"
    definition = replace(table_definition(LOGS, prefix=prefix), name=name)
    began = time.monotonic()
    try:
        await driver.execute(definition.create(None))
    except StoreError as error:
        hint = error.hint or "see the message"
        return fault(SUBJECT, f"no table can be made to try it in: {error.message}", why=_WHY, hint=hint)
    try:
        result = await _landed(driver, name, now_ms, began)
    except StoreError as error:
        hint = error.hint or "see the message"
        result = fault(SUBJECT, f"no row can be landed: {error.message}", why=_WHY, hint=hint)
    drop = f"DROP TABLE IF EXISTS {identifier(name)} SYNC"
    try:
        await driver.execute(drop)
    except StoreError as error:
        if result.level is Level.GOOD:
            result = warning(SUBJECT, f"{result.what}; its table stays: {error.message}", why="it is litter", hint=drop)
    return result


async def _landed(driver: Driver, name: str, now_ms: int, began: float) -> Finding:
    # Of now: an old one would be gone at once, by the table's TTL.
    now = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat()
    values = {"id": "a", "project_id": "p", "deployment_id": "", "level": "info", "message": _MESSAGE}
    values |= {"attributes": "{}", "timestamp": now, "recorded_at": now}
    row = json.dumps([values.get(column.name) for column in LOGS.columns]).encode() + b"\n"
    insert = RowsInsert(table=name, columns=LOGS.columns, batch_id=name, token=name, clock_ms=now_ms)

    async def stream() -> AsyncGenerator[Rows]:
        yield Rows(data=row, count=1)

    for _ in range(2):
        await driver.insert_rows(insert, stream())
    sql = f"SELECT count(), any(message) FROM {identifier(name)} WHERE batch_id = {{batch:String}}"  # noqa: S608  # our own name
    ((count, message),) = await driver.execute(sql, {"batch": name})
    if count != 1:
        hint = "check that the ClickHouse server is recent enough, and that its settings do not forbid deduplication"
        return fault(SUBJECT, f"a batch that was sent twice is there {count} times", why=_WHY, hint=hint)
    if message != _MESSAGE:
        hint = "report it, with the server's version"
        return fault(SUBJECT, f"a text came back as {message!r}", why=_WHY, hint=hint)
    return good(SUBJECT, f"a row landed once, sent twice, in {(time.monotonic() - began) * 1000:.0f} ms")
