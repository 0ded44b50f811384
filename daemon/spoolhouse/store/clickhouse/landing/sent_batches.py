"""Which batches of a shipment have rows in ClickHouse: for whoever cannot read its files any more."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from spoolhouse.errors import OperatorError, TransientError
from spoolhouse.events.declaration import Table
from spoolhouse.events.naming import Shards
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.landing.presence import STILL_RUNNING, objects
from spoolhouse.store.clickhouse.quoting import identifier, literal
from spoolhouse.store.clickhouse.replicas import servers_of
from spoolhouse.store.clickhouse.typed_rows import typed

_ACCESS_DENIED = 497
_UNKNOWN_TABLE = 60


class ClickHouseSentBatches(Struct, frozen=True, kw_only=True):
    """Asks all hosts, and all shards."""

    driver: Driver
    prefix: str
    shards: Shards | None

    async def find(self, shipment: str, tables: Collection[Table]) -> Mapping[str, int]:
        """Return the ids of the batches of a shipment that have rows in any of `tables`, or in a rollup of them.

        With each come its rows that the table has: later versions may have replaced some, or all, by a merge.

        Raises `StoreError`: a host that is away may have some, and an insert that still runs may bring some.
        """
        servers = servers_of(self.driver)
        first = await servers.pick()
        found: dict[str, int] = {}
        for server in (first, *await servers.others(first)):
            await self._require_no_running_insert(server, shipment)
            for table in tables:
                names = objects(table, prefix=self.prefix if self.shards is None else self.shards.prefix)
                for name in names:
                    for batch, rows in (await _batches_in(server, name, shipment)).items():
                        # A replica has the same rows; a rollup's are not counted.
                        found[batch] = max(found.get(batch, 0), rows if name == names[0] else 0)
        return found

    async def _require_no_running_insert(self, server: Driver, shipment: str) -> None:
        everywhere = "" if self.shards is None else f"clusterAllReplicas({literal(self.shards.cluster)}, "
        processes = f"{everywhere}system.processes{')' if everywhere else ''}"
        try:
            running = await server.execute(
                f"SELECT 1 FROM {processes} WHERE is_initial_query AND "  # noqa: S608  # a name from the settings
                "position(query, 'system.processes') = 0 AND position(query, 'startsWith(batch_id') = 0"
                " AND (position(query_id, {shipment:String}) > 0 OR position(query, {shipment:String}) > 0) LIMIT 1",
                {"shipment": f"{shipment}:"},
            )
        except OperatorError as error:
            if error.code != _ACCESS_DENIED:
                raise
            return
        if running:
            raise TransientError("an insert of the shipment still runs", code=STILL_RUNNING, ambiguous=True)


async def _batches_in(server: Driver, name: str, shipment: str) -> dict[str, int]:
    try:
        rows = await server.execute(
            f"SELECT batch_id, count() FROM {identifier(name)}"  # noqa: S608  # a declared name
            " WHERE startsWith(batch_id, {shipment:String}) GROUP BY batch_id",
            {"shipment": f"{shipment}:"},
        )
    except OperatorError as error:
        if error.code != _UNKNOWN_TABLE:
            raise
        return {}  # a type was declared, and its table never made
    return dict(typed(rows, tuple[str, int]))
