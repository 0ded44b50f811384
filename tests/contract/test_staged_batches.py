"""Rows of many batches in one table: each has the id of its batch, however few inserts bring them."""

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import pytest

from spoolhouse.decode.rows import Rows
from spoolhouse.errors import OperatorError, SpoolError
from spoolhouse.events.builtin import LOGS
from spoolhouse.recover.ports import BatchRows
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.landing import abandoned, staged_batches
from spoolhouse.store.clickhouse.landing.presence import staging_name
from spoolhouse.store.clickhouse.landing.staged_batches import staged
from tests.contract.place import Place
from tests.contract.tables import CLOCK_MS, create_table, encoded, log_pieces, stream

_LOG = ["id", "p", "", None, None, "info", ']\n"]\\\n,[', "2026-01-01T00:00:00Z", "{}", "2026-01-01T00:00:00Z", "{}"]


def batch(name: str, rows: Callable[[], AsyncIterator[Rows]]) -> BatchRows:
    return BatchRows(table=LOGS, landed_as=name, id=name, clock_ms=CLOCK_MS, rows=rows)


async def broken_off(pieces: Sequence[Rows]) -> AsyncIterator[Rows]:
    for piece in pieces:
        yield piece
    raise SpoolError("cannot be read on")


@pytest.mark.parametrize("limit", [1, 64, 32 << 20])
async def test_each_row_is_staged_with_its_batch(
    limit: int, driver: Driver, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also next to one that cannot be read to its end, and wherever an insert ends."""
    monkeypatch.setattr(staged_batches, "_INSERT_BYTES", limit)
    await driver.execute(create_table(LOGS, "logs"))
    odd = 'it\'s \\ a "batch"]'
    batches = [
        batch("first", partial(stream, log_pieces(30, per_piece=10))),
        batch("empty", partial(stream, [])),
        batch("broken", partial(broken_off, log_pieces(4, first=100))),
        batch(odd, partial(stream, [encoded([_LOG])])),
        batch("last", partial(stream, log_pieces(2))),
    ]
    async with staged(driver, batches, prefix="") as own:
        found = place.query(f"SELECT batch_id, count(), sum(id LIKE 'log-%') FROM {own.name} GROUP BY 1 ORDER BY 2")
        assert found[0] == (odd, 1, 0)
        assert found[1:] == [("last", 2, 2), ("broken", 4, 4), ("first", 30, 30)]
        assert place.query(f"SELECT message FROM {own.name} WHERE id = 'id'") == [(_LOG[6],)]
        assert {name: str(error) for name, error in own.errors.items()} == {"broken": "cannot be read on"}
    assert place.query("SHOW TABLES LIKE '%staging%'") == []


async def test_abandoned_tables_are_dropped_once_they_are_old_and_no_others(
    driver: Driver, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, declared = "MergeTree ORDER BY a", "ReplacingMergeTree ORDER BY a"
    names = [staging_name(batch, prefix=prefix) for prefix in ("p_", "other_") for batch in ("one", "two")]
    others = {
        **dict.fromkeys(("p_staging_of_mine", f"{names[0]}0", "p_spans"), plain),
        "p_staging_" + "0" * 16: declared,
    }
    for name, engine in {**dict.fromkeys(names, plain), **others}.items():
        await driver.execute(f"CREATE TABLE {name} (a Int8) ENGINE = {engine}")
    for age, left in ((abandoned.AGE, {*names, *others}), (0, {*names[2:], *others})):
        monkeypatch.setattr(abandoned, "AGE", age)
        await abandoned.drop_abandoned(driver, prefix="p_")
        assert {name for (name,) in place.query("SHOW TABLES LIKE '%_staging_%'")} | {"p_spans"} == left


async def test_a_table_that_cannot_be_dropped_keeps_no_other(
    driver: Driver, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, *others = sorted(staging_name(batch, prefix="") for batch in ("one", "two", "three"))
    for name in (kept, *others):
        await driver.execute(f"CREATE TABLE {name} (a Int8) ENGINE = MergeTree ORDER BY a")
    execute = driver.execute

    async def refuse_one(sql: str, *args: Any, **more: Any) -> Any:
        if sql.startswith("DROP") and kept in sql:
            raise OperatorError("it is in use")
        return await execute(sql, *args, **more)

    monkeypatch.setattr(abandoned, "AGE", 0)
    monkeypatch.setattr(driver, "execute", refuse_one)
    with pytest.raises(OperatorError, match="in use"):
        await abandoned.drop_abandoned(driver, prefix="")
    assert place.query("SHOW TABLES LIKE '%staging_%'") == [(kept,)]
