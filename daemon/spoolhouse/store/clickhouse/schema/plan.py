"""Plan a migration: the missing objects, and the differences that cannot be fixed without losing or rewriting data.
Pure.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from spoolhouse.store.clickhouse.schema import server_ddl
from spoolhouse.store.clickhouse.schema.backfill_sql import (
    MissingRows,
    backfill_statements,
    finished,
    unmarked,
    waiting,
)
from spoolhouse.store.clickhouse.schema.cluster import DistributedDefinition
from spoolhouse.store.clickhouse.schema.ddl import (
    MARK,
    Database,
    TableDefinition,
    ViewDefinition,
    placed,
    shown_version,
)
from spoolhouse.store.clickhouse.schema.drift import make_way, table_steps
from spoolhouse.store.clickhouse.schema.introspect import LiveDatabase, LiveTable
from spoolhouse.store.clickhouse.schema.migration_steps import BackfillStep, Plan, Step
from spoolhouse.store.clickhouse.schema.render import (
    EventTable,
    Schema,
    create_database,
    without_settings,
    without_text_indexes,
)
from spoolhouse.store.clickhouse.schema.rollups import RollupDefinition
from spoolhouse.store.migration import Change, Refusal

_NEW_VERSION = "raise the rollup's `version` where it is declared: it is then built anew, from the rows"
_NOTHING: Mapping[str, LiveTable] = MappingProxyType({})


def plan(declared: Schema, live: LiveDatabase) -> Plan:
    """Return the steps from `live` to `declared`.

    Undeclared tables and columns are left alone; so are differences that matter only for speed (another codec, index
    granularity), a longer deduplication window, and an enum with more values.
    """
    steps: list[Step] = []
    if live.unknown:
        declared = without_settings(declared, live.unknown)
    if not live.has_text_indexes:
        declared = without_text_indexes(declared)
    if declared.database is not None and not live.exists:
        create = create_database(declared.database, declared.on_cluster)
        steps.append(Change(name=declared.database, what="+ database", statement=create))
    tables = live.tables if live.exists else _NOTHING
    for event in declared.tables:
        steps += _EventTable(event, tables, declared.database).steps()
    return Plan(
        steps=tuple(step for step in steps if not isinstance(step, Refusal)),
        refusals=tuple(step for step in steps if isinstance(step, Refusal)),
    )


class _EventTable:
    """One table and its rollups, and the live objects of their names."""

    def __init__(self, event: EventTable, live: Mapping[str, LiveTable], database: Database) -> None:
        self._event = event
        self._live = live
        self._database = database
        self._table = live.get(event.table.name)
        self._rollups = [rollup for rollup in event.rollups if not self._is_superseded(rollup)]

    def _is_superseded(self, rollup: RollupDefinition) -> bool:
        """Tell whether the database is that of a later version of Spoolhouse, which has built the rollup anew.

        It counts what this version inserts, too: daemons of both may run for a while, and start in any order.
        """
        view = self._live.get(rollup.view.name)
        return view is not None and shown_version(view.comment) > rollup.rollup.version

    def steps(self) -> Iterator[Step]:
        """Yield the steps, in order."""
        own = list(self._own())
        if _blocked(own):
            yield from own
            return
        targets = [list(self._target(rollup)) for rollup in self._rollups]
        for target in targets:
            yield from target
        yield from own
        # The materialized view right after its table, so that as little as possible is inserted uncounted.
        sound = [r for r, target in zip(self._rollups, targets, strict=True) if not _blocked(target)]
        for rollup in sound:
            yield from self._materialized_view(rollup)
        for declared in self._event.distributed:
            yield from self._distributed(declared)
        for rollup in sound:
            yield from self._shown(rollup)

    def _own(self) -> Iterator[Step]:
        if self._table is None:
            yield _created(self._event.table, self._database)
        else:
            yield from table_steps(self._event.table, self._table, self._database)

    def _extent(self, rollup: RollupDefinition) -> MissingRows | None:
        """Return the rows that the rollup will lack once it and its materialized view exist."""
        target = self._live.get(rollup.target.name)
        if self._table is None:
            return None
        if target is None:
            return MissingRows.ALL
        for extent in MissingRows:
            # The replicas of a shard share their TTL, but not their comments: a target that is compacted is complete.
            if target.comment == extent and not server_ddl.ttl(target.engine_full).compacted:
                return extent
        return MissingRows.RECENT if rollup.materialized_view.name not in self._live and self._table.rows else None

    def _target(self, rollup: RollupDefinition) -> Iterator[Step]:
        extent, declared, live = self._extent(rollup), rollup.target, self._live.get(rollup.target.name)
        if extent is not None:
            declared = replace(declared, ttl=declared.ttl.uncompacted)
        if live is None:
            yield _created(declared, self._database, comment=extent or "")
            return
        steps = list(table_steps(declared if live.comment == extent else rollup.target, live, self._database))
        for step in steps:
            yield replace(step, hint=_NEW_VERSION) if isinstance(step, Refusal) and step.blocking else step
        if extent is None and live.comment in set(MissingRows) and not _blocked(steps):
            forget = unmarked(declared, self._database)
            yield Change(name=declared.name, what="~ complete, as on another replica", statement=forget)
        if extent is not None and live.comment != extent and not _blocked(steps):
            yield Change(
                name=declared.name,
                what="~ not compacted until it is complete",
                statement=waiting(rollup.target, extent, self._database),
            )

    def _materialized_view(self, rollup: RollupDefinition) -> Iterator[Step]:
        declared, live = rollup.materialized_view, self._live.get(rollup.materialized_view.name)
        if live is None:
            yield _view_created(declared, f"+ materialized view into {rollup.target.name}", self._database)
        elif live.engine != "MaterializedView":
            yield make_way(declared.name, f"it is a {live.engine}, declared MaterializedView", self._database)
        elif live.comment != declared.comment:
            yield Refusal(
                name=declared.name,
                reason="its definition differs: lines would be counted in another way from now on",
                statement=declared.modify(self._database),
                hint=_NEW_VERSION,
            )

    def _shown(self, rollup: RollupDefinition) -> Iterator[Step]:
        view = self._live.get(rollup.materialized_view.name)
        if view is not None and view.engine != "MaterializedView":
            return
        extent, after = self._extent(rollup), list(self._view(rollup))
        after += self._earlier(rollup)
        if extent is None:
            yield from after
            return
        whole = Change(
            name=rollup.target.name,
            what="~ complete: batches are compacted once they are old",
            statement=finished(rollup.target, self._database),
        )
        yield BackfillStep(
            backfill=backfill_statements(rollup, extent, self._database),
            then=(whole, *(step for step in after if isinstance(step, Change))),
        )
        yield from (step for step in after if isinstance(step, Refusal))

    def _distributed(self, declared: DistributedDefinition) -> Iterator[Change | Refusal]:
        live = self._live.get(declared.name)
        if live is None:
            what = f"+ table over {declared.local.name} of all shards"
            yield Change(name=declared.name, what=what, statement=declared.create(self._database))
        elif live.engine != "Distributed":
            yield make_way(declared.name, f"it is a {live.engine}, declared Distributed", self._database)
        elif live.comment != declared.comment:
            # It stores nothing: rows are in the local tables.
            statement = declared.create(self._database, replace=True)
            yield Change(name=declared.name, what="~ table over all shards, another definition", statement=statement)

    def _view(self, rollup: RollupDefinition) -> Iterator[Change | Refusal]:
        declared, live = rollup.view, self._live.get(rollup.view.name)
        if live is None:
            yield _view_created(declared, "+ view", self._database)
        elif live.engine != "View":
            yield make_way(declared.name, f"it is a {live.engine}, declared View", self._database)
        elif live.comment != declared.comment:
            statement = declared.create(self._database, replace=True)
            yield Change(name=declared.name, what="~ view, another definition", statement=statement)

    def _earlier(self, rollup: RollupDefinition) -> Iterator[Change]:
        """Yield the removal of the views into earlier versions; their targets stay, with figures of expired rows."""
        for name in rollup.earlier_feeds:
            live = self._live.get(name)
            if live is not None and live.engine == "MaterializedView" and live.comment.startswith(MARK):
                yield Change(
                    name=name,
                    what="- materialized view of an earlier version; its target stays",
                    statement=f"DROP VIEW IF EXISTS {placed(self._database, name, rollup.target.on_cluster)}",
                )


def _created(table: TableDefinition, database: Database, comment: str = "") -> Change:
    return Change(name=table.name, what="+ table", statement=table.create(database, comment=comment))


def _view_created(view: ViewDefinition, what: str, database: Database) -> Change:
    return Change(name=view.name, what=what, statement=view.create(database))


def _blocked(steps: list[Step]) -> bool:
    return any(isinstance(step, Refusal) and step.blocking for step in steps)
