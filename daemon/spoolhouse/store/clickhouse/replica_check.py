"""Whether tables on several servers are replicas of one another: only then may a batch go to any of them."""

from collections.abc import Collection, Mapping

from msgspec import Struct

from spoolhouse.errors import UnreachableError
from spoolhouse.store.clickhouse.driver import Driver

READ_ONLY = 242
"""ClickHouse's code for a table that has lost its Keeper."""

_REPLICATED = "Replicated"
_ENGINES = (
    "SELECT name, engine FROM system.tables WHERE database = currentDatabase() AND has({names:Array(String)}, name)"
)
_REPLICAS = """
SELECT table, is_readonly, zookeeper_path, replica_name, mapKeys(replica_is_active) FROM system.replicas
WHERE database = currentDatabase() AND has({names:Array(String)}, table)
"""


class ReplicaState(Struct, frozen=True, kw_only=True):
    """The state of one table on one server."""

    engine: str
    path: str = ""
    """In Keeper, where its replicas meet; empty for a table that does not replicate."""
    replica: str = ""
    """The name of this one there."""
    known: frozenset[str] = frozenset()
    """The names of all that have met there."""


async def check(driver: Driver, tables: Collection[str]) -> Mapping[str, ReplicaState]:
    """Return the state of those of `tables` that a server has.

    Two Keepers may have the same path, so the other replicas there are asked for too. Raises `StoreError`; it is an
    `UnreachableError` if the server takes no rows, because it has lost its Keeper.
    """
    names = {"names": list(tables)}
    replicas: dict[str, ReplicaState] = {}
    for name, is_read_only, path, replica, known in await driver.execute(_REPLICAS, names):
        others = frozenset(str(one) for one in known) if isinstance(known, list) else frozenset()
        if is_read_only or not others:
            raise UnreachableError(
                f"{name} is read-only", code=READ_ONLY, hint="see system.replicas there, and whether its Keeper runs"
            )
        replicas[str(name)] = ReplicaState(engine=_REPLICATED, path=str(path), replica=str(replica), known=others)
    found = {str(name): str(engine) for name, engine in await driver.execute(_ENGINES, names)}
    # A table that was created, or dropped, between the two queries is in one answer alone: it is not there yet.
    return {
        name: replicas.get(name, ReplicaState(engine=engine))
        for name, engine in found.items()
        if name in replicas or not engine.startswith(_REPLICATED)
    }


def disagreement(
    server: str,
    seen: Mapping[str, ReplicaState],
    others: Mapping[str, Mapping[str, ReplicaState]],
    tables: Collection[str],
) -> str:
    """Return why a server cannot take what others take; empty if it can. `others`: the state of those."""
    for table in tables:
        own = seen.get(table)
        if own is None:
            return f"{table} is not there on {server}"
        if not own.path:
            return f"{table} on {server} does not replicate ({own.engine})"
        for name, theirs in others.items():
            other = theirs.get(table)
            if other is None or not other.path:
                continue  # then that one is the one to blame
            if other.path != own.path:
                return f"{table} is at {own.path} in Keeper on {server}, and at {other.path} on {name}"
            if other.replica == own.replica:
                return f"{table} is one replica, {own.replica}, on {server} and on {name}"
            if other.replica not in own.known:
                return f"{table} on {server} does not know the replica on {name}: they have another Keeper"
    return ""


def uncounted(
    server: str,
    seen: Mapping[str, ReplicaState],
    others: Mapping[str, Mapping[str, ReplicaState]],
    views: Collection[str],
) -> str:
    """Return which of `views` a server has not, though another has it; empty if there is none.

    They are views that count rows as they are inserted, and do not replicate: each server has its own, or none has it
    any more.
    """
    for view in views:
        for name, theirs in others.items():
            if view in theirs and view not in seen:
                return f"{view} is not there on {server}, as it is on {name}: what it takes would not be counted"
    return ""
