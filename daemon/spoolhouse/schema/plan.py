"""What is missing in a live database, and what cannot be mended without losing or rewriting data. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spoolhouse.schema import spelling
from spoolhouse.schema.ddl import ColumnDefinition, Database, TableDefinition, ViewDefinition, identifier, qualified
from spoolhouse.schema.live import LiveDatabase, LiveTable
from spoolhouse.schema.render import EventTable, Schema, create_database
from spoolhouse.schema.rollups import RollupDefinition
from spoolhouse.schema.tables import DEDUPLICATION_WINDOW, SYNCED


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A difference that only a person may settle, because settling it loses, rewrites or recounts data."""

    name: str
    """The table or view."""
    reason: str
    """What differs, in one line."""
    statement: str
    """What would settle it, or make way for it. It is never run."""
    blocking: bool = False
    """The object is not what its name says: nothing is added to it, and nothing that hangs on it is created."""

    def __str__(self) -> str:
        """Return what differs, and where."""
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to get from the live database to the declared one."""

    statements: tuple[str, ...] = ()
    """In order; each can be repeated, and run by several instances at once."""
    refusals: tuple[Refusal, ...] = ()

    @property
    def empty(self) -> bool:
        """True where live and declared agree."""
        return not self.statements and not self.refusals


Step = str | Refusal
_NOTHING: Mapping[str, LiveTable] = MappingProxyType({})


def plan(declared: Schema, live: LiveDatabase) -> Plan:
    """Return what brings `live` to `declared`.

    Tables and columns that are not declared are left alone; so is what only matters for speed (codecs, index
    granularity), a longer deduplication window, and an enum that knows more values. A new index covers what is inserted
    from then on; older parts get it by ALTER TABLE … MATERIALIZE INDEX, and a new feed counts nothing of the past.
    """
    steps: list[Step] = []
    if declared.database is not None and not live.exists:
        steps.append(create_database(declared.database))
    tables = live.tables if live.exists else _NOTHING
    for event in declared.tables:
        steps += _event_table(event, tables, declared.database)
    return Plan(
        statements=tuple(step for step in steps if isinstance(step, str)),
        refusals=tuple(step for step in steps if isinstance(step, Refusal)),
    )


def _event_table(event: EventTable, live: Mapping[str, LiveTable], database: Database) -> Iterator[Step]:
    own = list(_table(event.table, live.get(event.table.name), database))
    if _blocked(own):
        yield from own
        return
    targets = [list(_table(rollup.target, live.get(rollup.target.name), database)) for rollup in event.rollups]
    for target in targets:
        yield from target
    yield from own
    # A feed right after its table, so that as little as possible is inserted uncounted.
    sound = [rollup for rollup, target in zip(event.rollups, targets, strict=True) if not _blocked(target)]
    for rollup in sound:
        yield from _feed(rollup.feed, live.get(rollup.feed.name), database)
    for rollup in sound:
        yield from _view(rollup, live.get(rollup.view.name), database)


def _blocked(steps: list[Step]) -> bool:
    return any(isinstance(step, Refusal) and step.blocking for step in steps)


def _make_way(name: str, reason: str, database: Database) -> Refusal:
    aside = f"RENAME TABLE {qualified(database, name)} TO {qualified(database, name + '_old')}"
    return Refusal(name=name, reason=reason, statement=aside, blocking=True)


def _table(declared: TableDefinition, live: LiveTable | None, database: Database) -> Iterator[Step]:
    if live is None:
        yield declared.create(database)
        return
    wrong = _wrong_shape(declared, live)
    if wrong:
        yield _make_way(declared.name, wrong, database)
        return
    alter = f"ALTER TABLE {qualified(database, declared.name)}"
    for column in declared.columns:
        yield from _column(declared.name, alter, column, live.columns.get(column.name))
    yield from _indexes(declared, alter, live)
    yield from _ttl(declared, alter, live)
    yield from _settings(declared, alter, live)


def _settings(declared: TableDefinition, alter: str, live: LiveTable) -> Iterator[Step]:
    """Raise what is too low; a longer window, or rows that are synced where nobody asked for it, are left alone."""
    for name in (DEDUPLICATION_WINDOW, *SYNCED):
        wanted = declared.settings.get(name, 0)
        applies = name != DEDUPLICATION_WINDOW or spelling.is_local(live.engine)
        if applies and spelling.setting(live.engine_full, name) < wanted:
            yield f"{alter} MODIFY SETTING {name} = {wanted}"


def _wrong_shape(declared: TableDefinition, live: LiveTable) -> str:
    engine = f"{declared.engine}({declared.version})" if declared.version else declared.engine
    shapes = (
        ("engine", spelling.engine(live.engine, live.engine_full), engine),
        ("partition key", spelling.plain(live.partition_key), f"toYYYYMM({declared.partition_column})"),
        ("sorting key", spelling.plain(live.sorting_key), ", ".join(declared.order_by)),
    )
    return "; ".join(f"{what} is {is_!r}, declared {should!r}" for what, is_, should in shapes if is_ != should)


def _column(table: str, alter: str, declared: ColumnDefinition, live: str | None) -> Iterator[Step]:
    if live is None:
        yield f"{alter} ADD COLUMN IF NOT EXISTS {declared.sql()}"
        return
    if live == declared.type or spelling.enum_extends(live, declared.type):
        return
    change = f"{alter} MODIFY COLUMN {identifier(declared.name)} {declared.type}"
    if spelling.enum_extends(declared.type, live):
        # New values of an enum touch no stored byte.
        yield change
        return
    reason = f"column {declared.name} is {live}, declared {declared.type}"
    yield Refusal(name=table, reason=reason, statement=change)


def _indexes(declared: TableDefinition, alter: str, live: LiveTable) -> Iterator[Step]:
    for index in declared.indexes:
        found = live.indexes.get(index.name)
        if found is None:
            yield f"{alter} ADD INDEX IF NOT EXISTS {index.sql()}"
            continue
        is_, should = f"{found.type} of {spelling.plain(found.expression)}", f"{index.type} of {index.column}"
        if is_ != should:
            yield Refusal(
                name=declared.name,
                reason=f"index {index.name} is {is_}, declared {should}",
                statement=f"{alter} DROP INDEX {identifier(index.name)}",
            )


def _ttl(declared: TableDefinition, alter: str, live: LiveTable) -> Iterator[Step]:
    found, wanted = spelling.ttl(live.engine_full), declared.ttl
    folds = spelling.folded_columns(wanted.fold)
    if (found.column, found.days, found.folded) == (wanted.column, wanted.days, folds):
        return
    change = f"{alter} MODIFY TTL {wanted.sql()}"
    if found.column == wanted.column and found.days <= wanted.days:
        yield change
        return
    reason = f"TTL is {found.text!r}; the declared one would delete rows sooner or by another column"
    yield Refusal(name=declared.name, reason=reason, statement=change)


def _feed(declared: ViewDefinition, live: LiveTable | None, database: Database) -> Iterator[Step]:
    if live is None:
        yield declared.create(database)
    elif live.engine != "MaterializedView":
        yield _make_way(declared.name, f"it is a {live.engine}, declared MaterializedView", database)
    elif live.comment != declared.comment:
        yield Refusal(
            name=declared.name,
            reason="its definition differs: lines would be counted in another way from now on",
            statement=declared.modify(database),
        )


def _view(rollup: RollupDefinition, live: LiveTable | None, database: Database) -> Iterator[Step]:
    declared = rollup.view
    if live is None:
        yield declared.create(database)
    elif live.engine != "View":
        yield _make_way(declared.name, f"it is a {live.engine}, declared View", database)
    elif live.comment != declared.comment:
        yield declared.create(database, replace=True)
