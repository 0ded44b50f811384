"""How many parts the tables have, and from how many on the server delays and refuses inserts."""

from collections.abc import Sequence

from spoolhouse.doctor.ports import PartCount
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.schema import server_ddl
from spoolhouse.store.clickhouse.typed_rows import typed

_DELAY, _REFUSE = "parts_to_delay_insert", "parts_to_throw_insert"
# The session's value wins over the table's, which wins over the server's default.
_SETTINGS = f"""
SELECT 'session', name, toUInt64(value) FROM system.settings WHERE name IN ('{_DELAY}', '{_REFUSE}')
UNION ALL
SELECT 'default', name, toUInt64(value) FROM system.merge_tree_settings WHERE name IN ('{_DELAY}', '{_REFUSE}')
"""  # noqa: S608  # constants
_TABLES = """
SELECT name, engine_full FROM system.tables
WHERE database = currentDatabase() AND has({names:Array(String)}, name) AND engine LIKE '%MergeTree'
"""
# The server judges the fullest partition, into whichever an insert goes; and none whose parts are large.
_PARTS = """
SELECT table, max(parts) FROM
(
    SELECT table, count() AS parts FROM system.parts
    WHERE active AND database = currentDatabase() AND has({names:Array(String)}, table) GROUP BY table, partition_id
    HAVING avg(bytes_on_disk) <=
        (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'max_avg_part_size_for_too_many_parts')
)
GROUP BY table
"""


async def part_counts(driver: Driver, names: Sequence[str]) -> list[PartCount]:
    """Return the parts of those of the tables that the driver's database has. Raises `StoreError`."""
    about = {"names": names}
    settings = typed(await driver.execute(_SETTINGS), tuple[str, str, int])
    chosen = {(scope, name): value for scope, name, value in settings}
    described = typed(await driver.execute(_TABLES, about), tuple[str, str])
    parts = dict(typed(await driver.execute(_PARTS, about), tuple[str, int]))

    def limit(full: str, setting: str) -> int:
        own = server_ddl.setting(full, setting)
        return chosen.get(("session", setting)) or own or chosen.get(("default", setting), 0)

    return [
        PartCount(table=name, parts=parts.get(name, 0), delay_at=limit(full, _DELAY), refuse_at=limit(full, _REFUSE))
        for name, full in described
    ]
