"""A trial: one row is inserted twice into a table of its own, read, and removed with the table."""

import time

from spoolhouse.doctor.finding import Finding, Level, fault, good, warning
from spoolhouse.doctor.ports import InspectedStore, TrialTable
from spoolhouse.errors import StoreError

SUBJECT = "probe"
_MESSAGE = "is it there? \u00e9 \0 \U0001f388"
_WHY = "a line has to land once, as it was written, however often it is sent"


async def examine(store: InspectedStore, *, now_ms: int) -> Finding:
    """Return the result of the trial. Its table is dropped, or the finding names it."""
    began = time.monotonic()
    try:
        table = await store.trial_table()
    except StoreError as error:
        hint = error.hint or "see the message"
        return fault(SUBJECT, f"no table can be created for a trial: {error.message}", why=_WHY, hint=hint)
    try:
        result = await _landed(table, now_ms, began)
    except StoreError as error:
        hint = error.hint or "see the message"
        result = fault(SUBJECT, f"no row can be landed: {error.message}", why=_WHY, hint=hint)
    try:
        await table.drop()
    except StoreError as error:
        if result.level is Level.GOOD:
            what = f"{result.what}; its table could not be dropped: {error.message}"
            result = warning(SUBJECT, what, why="the table is not used again", hint=table.drop_statement)
    return result


async def _landed(table: TrialTable, now_ms: int, began: float) -> Finding:
    for _ in range(2):
        await table.insert(_MESSAGE, now_ms)
    count, message = await table.read()
    if count != 1:
        hint = "check that the ClickHouse server is recent enough, and that its settings do not forbid deduplication"
        return fault(SUBJECT, f"a batch that was sent twice is there {count} times", why=_WHY, hint=hint)
    if message != _MESSAGE:
        hint = "report it, with the server's version"
        return fault(SUBJECT, f"a text came back as {message!r}", why=_WHY, hint=hint)
    return good(SUBJECT, f"a row landed once, sent twice, in {(time.monotonic() - began) * 1000:.0f} ms")
