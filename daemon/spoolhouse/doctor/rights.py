"""The rights that the user lacks, each with the GRANT statement that gives it."""

from collections.abc import AsyncIterator

from spoolhouse.doctor.finding import Finding, fault, good, unknown, warning
from spoolhouse.doctor.ports import InspectedStore
from spoolhouse.errors import StoreError

SUBJECT = "rights"


async def examine(store: InspectedStore) -> AsyncIterator[Finding]:
    """Yield a finding for each missing right, or a good one."""
    lacking = False
    try:
        async for right in store.missing_rights():
            lacking = lacking or right.vital
            finding = fault if right.vital else warning
            what = f"{store.user} lacks {', '.join(right.rights)} on {right.where}"
            yield finding(SUBJECT, what, why=right.lacking, hint=right.statement)
    except StoreError as error:
        yield unknown(SUBJECT, error)
        return
    if not lacking:
        may = "select, insert and change the schema" if store.migrates else "select and insert"
        yield good(SUBJECT, f"{store.user} may {may}")
    for table, refusal in (await store.unreadable()).items():
        why = "the state of the server is read there"
        yield fault(SUBJECT, f"{store.user} cannot read {table}: {refusal.message}", why=why, hint=refusal.hint)
