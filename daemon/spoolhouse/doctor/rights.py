"""Which of the rights that are needed the user lacks, each with the GRANT that gives it."""

from collections.abc import AsyncIterator

from spoolhouse.doctor.finding import Finding, fault, good, unknown, warning
from spoolhouse.errors import StoreError
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema.grants import Grant, Needs

SUBJECT = "rights"
_SYNTAX_ERROR = 62
_CREATE_DATABASE = "CREATE DATABASE"


async def examine(needs: Needs, driver: Driver, *, user: str) -> AsyncIterator[Finding]:
    """Yield what is found."""
    lacking = False
    try:
        there = await driver.execute(
            "SELECT 1 FROM system.databases WHERE name = {database:String}", {"database": needs.database}
        )
        for grant in needs.grants():
            if grant.where.startswith("system.") or (there and _CREATE_DATABASE in grant.rights):
                continue
            if missing := [right for right in grant.rights if not await _has(driver, right, grant)]:
                lacking = lacking or grant.vital
                finding = fault if grant.vital else warning
                what = f"{user} lacks {', '.join(missing)} on {grant.where}"
                yield finding(SUBJECT, what, why=grant.lacking, hint=grant.statement(user, missing))
    except StoreError as error:
        # CHECK GRANT is not known to older servers; the probe tries what matters.
        if error.code != _SYNTAX_ERROR:
            yield unknown(SUBJECT, error)
            return
    if not lacking:
        yield good(SUBJECT, f"{user} may select, insert" + (" and change the schema" if needs.migrates else ""))
    for table in needs.system_tables():
        try:
            # What is there to be read need not be granted; and `zookeeper` is read by path alone.
            where = " WHERE path = '/'" if table == "zookeeper" else ""
            await driver.execute(f"SELECT 1 FROM system.{table}{where} LIMIT 0")  # noqa: S608  # constants
        except StoreError as error:
            why = "what is in the server is read there"
            yield fault(SUBJECT, f"{user} cannot read system.{table}: {error.message}", why=why, hint=error.hint)


async def _has(driver: Driver, right: str, grant: Grant) -> bool:
    for place in grant.tried_on:
        ((granted,),) = await driver.execute(f"CHECK GRANT {right} ON {place}")
        if not granted:
            return False
    return True
