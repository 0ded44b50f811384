"""Which tables may refuse a row that decode accepts: tables that are not as they are declared."""

from collections.abc import Collection

from spoolhouse.events.declaration import Table
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema.tables import table_definition

_REFUSING = """
SELECT 1 FROM system.tables
WHERE database = currentDatabase() AND has({tables:Array(String)}, name)
    AND position(create_table_query, ' CONSTRAINT ') > 0
UNION ALL
SELECT 1 FROM system.columns
WHERE database = currentDatabase() AND has({tables:Array(String)}, table)
    AND if(has({names:Array(String)}, concat(table, '.', name)),
        NOT has({types:Array(String)}, concat(table, '.', name, ' ', type)), default_expression != '')
LIMIT 1
"""


async def may_refuse(driver: Driver, tables: Collection[Table], *, prefix: str) -> bool:
    """Tell whether a table has a constraint, a column of another type, or one that it computes. Raises `StoreError`.

    What decode accepts fits the declared columns. (An object that is invisible to the user refuses nothing.)
    """
    definitions = [table_definition(table, prefix=prefix) for table in tables]
    columns = [(f"{table.name}.{column.name}", column.type) for table in definitions for column in table.columns]
    about = {
        "tables": [table.name for table in definitions],
        "names": [name for name, _ in columns],
        "types": [f"{name} {kind}" for name, kind in columns],
    }
    return bool(await driver.execute(_REFUSING, {**about}))
