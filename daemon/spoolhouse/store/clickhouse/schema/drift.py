"""The differences between a live table and its definition. Pure."""

from collections.abc import Iterator

from spoolhouse.store.clickhouse.quoting import identifier, literal
from spoolhouse.store.clickhouse.schema import server_ddl
from spoolhouse.store.clickhouse.schema.ddl import ColumnDefinition, Database, TableDefinition, qualified
from spoolhouse.store.clickhouse.schema.introspect import LiveTable
from spoolhouse.store.clickhouse.schema.migration_steps import Step
from spoolhouse.store.clickhouse.schema.tables import DEDUPLICATION_WINDOW, REPLICATED, SYNCED
from spoolhouse.store.migration import Change, Refusal

DEDUPLICATION_WINDOWS = (DEDUPLICATION_WINDOW, *(name for name in REPLICATED if "deduplication" in name))


def table_steps(declared: TableDefinition, live: LiveTable, database: Database) -> Iterator[Step]:
    """Yield the steps from a live table to its definition; only a refusal where the shape is another altogether."""
    wrong = _wrong_shape(declared, live)
    if wrong:
        yield make_way(declared.name, wrong, database)
        return
    alter = declared.alter(database)
    for column in declared.columns:
        yield from _column(declared.name, alter, column, live)
    yield from _indexes(declared, alter, live)
    yield from _ttl(declared, alter, live)
    yield from _settings(declared, alter, live)


def make_way(name: str, reason: str, database: Database) -> Refusal:
    """Return the refusal for an object of another kind than its name says."""
    aside = f"RENAME TABLE {qualified(database, name)} TO {qualified(database, name + '_old')}"
    hint = "rename it (a materialized view is better dropped: its name is in its target), then migrate again"
    return Refusal(name=name, reason=reason, statement=aside, hint=hint, blocking=True)


def _wrong_shape(declared: TableDefinition, live: LiveTable) -> str:
    engine = f"{declared.engine}({declared.version})" if declared.version else declared.engine
    shapes = (
        ("engine", server_ddl.engine(live.engine, live.engine_full), engine),
        # Only in this direction: a table that is replicated without need is as good.
        ("replication", "none", "by Keeper" if declared.replicated and server_ddl.is_local(live.engine) else "none"),
        ("partition key", server_ddl.plain(live.partition_key), f"toYYYYMM({declared.partition_column})"),
        ("sorting key", server_ddl.plain(live.sorting_key), ", ".join(declared.order_by)),
    )
    return "; ".join(f"{what} is {is_!r}, declared {should!r}" for what, is_, should in shapes if is_ != should)


def _column(table: str, alter: str, declared: ColumnDefinition, live: LiveTable) -> Iterator[Step]:
    name, kind = declared.name, live.columns.get(declared.name)
    if kind is None:
        yield Change(
            name=table,
            what=f"+ column {name} {declared.type}",
            statement=f"{alter} ADD COLUMN IF NOT EXISTS {declared.sql()}",
        )
        return
    if declared.codec and name not in live.codecs:
        # Another codec is somebody's choice; a missing codec is nobody's.
        yield Change(
            name=table,
            what=f"+ codec {declared.codec} of column {name}",
            statement=f"{alter} MODIFY COLUMN {identifier(name)} CODEC({declared.codec})",
        )
    if kind == declared.type or server_ddl.enum_extends(kind, declared.type):
        return
    change = f"{alter} MODIFY COLUMN {identifier(name)} {declared.type}"
    if server_ddl.enum_extends(declared.type, kind):
        # New values of an enum change no stored byte.
        yield Change(name=table, what=f"~ column {name} {declared.type}, was {kind}", statement=change)
        return
    if "Nullable(" in kind and "Nullable(" not in declared.type:
        # The value that replaces NULL; the server wants it named.
        change += f" DEFAULT {declared.default or f'defaultValueOfTypeName({literal(declared.type)})'}"
    yield Refusal(name=table, reason=f"column {name} is {kind}, declared {declared.type}", statement=change)


def _indexes(declared: TableDefinition, alter: str, live: LiveTable) -> Iterator[Step]:
    for index in declared.indexes:
        found = live.indexes.get(index.name)
        should = f"{index.type} of {index.expression}"
        build = f"MATERIALIZE INDEX {identifier(index.name)}"
        if found is None:
            # In one statement: after an interruption between two, the old parts would lack it for good.
            also = f", {build}" if live.rows else ""
            yield Change(
                name=declared.name,
                what=f"+ index {index.name}: {should}" + (", for old rows in the background" if also else ""),
                statement=f"{alter} ADD INDEX IF NOT EXISTS {index.sql()}{also}",
            )
            continue
        is_ = f"{found.type} of {server_ddl.plain(found.expression)}"
        if is_ != should:
            yield Refusal(
                name=declared.name,
                reason=f"index {index.name} is {is_}, declared {should}",
                statement=f"{alter} DROP INDEX {identifier(index.name)}",
            )
        elif live.rows and not found.stored:
            yield Change(
                name=declared.name,
                what=f"~ index {index.name}, for old rows in the background",
                statement=f"{alter} {build}",
            )


def _ttl(declared: TableDefinition, alter: str, live: LiveTable) -> Iterator[Step]:
    found, wanted = server_ddl.ttl(live.engine_full), declared.ttl
    compacted = server_ddl.compacted_columns(wanted.compaction)
    if (found.column, found.days, found.compacted) == (wanted.column, wanted.days, compacted):
        return
    change = f"{alter} MODIFY TTL {wanted.sql()}"
    if found.column == wanted.column and found.days <= wanted.days:
        lengthened = found.days != wanted.days
        what = (
            f"{wanted.days} days after {wanted.column}, was {found.days}" if lengthened else "how batches are compacted"
        )
        yield Change(name=declared.name, what=f"~ TTL {what}", statement=change)
        return
    reason = f"TTL is {found.text!r}; the declared one would delete rows sooner or by another column"
    yield Refusal(name=declared.name, reason=reason, statement=change)


def _settings(declared: TableDefinition, alter: str, live: LiveTable) -> Iterator[Step]:
    """Raise settings that are too low; leave a longer window, or rows that are synced unasked, alone."""
    for name in (*DEDUPLICATION_WINDOWS, *SYNCED):
        wanted, found = declared.settings.get(name, 0), server_ddl.setting(live.engine_full, name)
        applies = name != DEDUPLICATION_WINDOW or server_ddl.is_local(live.engine)
        if applies and found < wanted:
            yield Change(
                name=declared.name,
                what=f"~ setting {name} {wanted}, was {found}",
                statement=f"{alter} MODIFY SETTING {name} = {wanted}",
            )
