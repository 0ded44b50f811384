"""The ClickHouse that the settings name: is it there, is it new enough, and will what is sent to it land once."""

from collections.abc import AsyncIterator, Callable

from spoolhouse.doctor.finding import Finding, Level, fault, good, unknown, warning
from spoolhouse.errors import StoreError
from spoolhouse.store.clickhouse.driver import Driver
from spoolhouse.store.clickhouse.drivers.query_settings import NAMES
from spoolhouse.store.clickhouse.schema import migrate
from spoolhouse.store.clickhouse.schema.dedup_guard import unguarded, unsynced
from spoolhouse.store.clickhouse.schema.render import Schema, holding_rows
from spoolhouse.store.clickhouse.schema.tables import DEDUPLICATION_WINDOW, SYNCED, WINDOW

OLDEST = (25, 3)
"""The oldest server that is a supported release of ClickHouse's; older ones may do, and are not looked after."""
_NEEDED = (
    "insert_deduplicate",
    "insert_deduplication_token",
    "deduplicate_blocks_in_dependent_materialized_views",
    "async_insert",
    "optimize_on_insert",
    "max_insert_threads",
)
"""Settings without which a repeated batch could be counted twice, or not be one block."""
_SKEW_MS, _WRONG_CLOCK_MS = 5_000, 3_600_000
_LEAST_MEMORY = 1 << 30
_MANY = 3
# The server counts the fullest partition, and none of large parts: they cost readers little.
_CROWDED = """
SELECT p.table, p.parts, if(own > 0, own, default_limit) AS limit FROM
(
    SELECT table, max(parts) AS parts FROM
    (
        SELECT table, count() AS parts FROM system.parts
        WHERE active AND database = currentDatabase() AND has({names:Array(String)}, table)
        GROUP BY table, partition_id
        HAVING avg(bytes_on_disk) <=
            (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'max_avg_part_size_for_too_many_parts')
    )
    GROUP BY table
) AS p
INNER JOIN
(
    SELECT name, toUInt64OrZero(extract(engine_full, 'parts_to_delay_insert = (\\\\d+)')) AS own,
        (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_delay_insert') AS default_limit
    FROM system.tables WHERE database = currentDatabase()
) AS t ON t.name = p.table
WHERE limit > 0 AND parts > limit / 2
ORDER BY p.table
"""
"""Tables with a partition that has more than half as many parts as delay inserts."""

Clock = Callable[[], int]
"""Ms since 1970."""


async def version(driver: Driver) -> AsyncIterator[Finding]:
    """Judge the server's version, and what it knows."""
    ((text,),) = await driver.execute("SELECT version()")
    major, minor = (int(number) for number in str(text).split(".")[:2])
    if (major, minor) < OLDEST:
        why = f"Spoolhouse is not tried with servers before {OLDEST[0]}.{OLDEST[1]}"
        yield warning("version", f"ClickHouse {text}", why=why, hint="update the ClickHouse server")
    else:
        yield good("version", f"ClickHouse {text}")
    found = await driver.execute(
        "SELECT name FROM system.settings WHERE name IN {names:Array(String)}", {"names": _NEEDED}
    )
    if lacking := sorted(set(_NEEDED) - {str(name) for (name,) in found}):
        why = "a batch that is repeated could be counted twice"
        yield fault("version", f"it does not know {', '.join(lacking)}", why=why, hint="update the ClickHouse server")


async def profile(driver: Driver, *, user: str) -> AsyncIterator[Finding]:
    """Judge what the user's profile forbids, and what of it Spoolhouse overrules."""
    sql = "SELECT name, value, readonly FROM system.settings WHERE name IN {names:Array(String)}"
    rows = await driver.execute(sql, {"names": [*NAMES, "readonly", "max_memory_usage"]})
    values = {str(name): str(value) for name, value, _ in rows}
    hint = f"give {user} a profile with readonly = 0, and no constraints on these settings"
    if values.get("readonly", "0") != "0":
        why = "nothing can be inserted, and no setting be sent along"
        yield fault("profile", f"{user} is read-only (readonly = {values['readonly']})", why=why, hint=hint)
    elif fixed := [str(name) for name, _, readonly in rows if bool(readonly) and str(name) in NAMES]:
        what = f"{user} may not change {', '.join(fixed[:_MANY])}" + (" and others" if len(fixed) > _MANY else "")
        why = "they go along with every insert: what lands must not depend on a profile"
        yield fault("profile", what, why=why, hint=hint)
    else:
        asynchronous = "on for other inserts, off for ours" if values.get("async_insert") == "1" else "off"
        yield good("profile", f"the settings of an insert may be sent; async_insert is {asynchronous}")
    memory = int(values.get("max_memory_usage", "0"))
    if 0 < memory < _LEAST_MEMORY:
        why = "an insert of half a million rows may need more, and is then refused again and again"
        hint = f"raise max_memory_usage in the profile of {user}, or lower batch.max_bytes"
        yield warning("profile", f"max_memory_usage is {memory >> 20} MiB", why=why, hint=hint)


async def drift(schema: Schema, driver: Driver, *, migrates: bool, running: bool) -> AsyncIterator[Finding]:
    """Judge how the live schema differs from the declared one. `running`: a daemon has started with it already."""
    plan = await migrate.check(schema, driver)
    for refusal in plan.refusals:
        why = "what it concerns is held: only a person may settle it, because data would be lost or counted anew"
        yield fault("schema", str(refusal), why=why, hint=f"see `spoolhouse migrate --check`; {refusal.statement}")
    lost = plan.missing & set(holding_rows(schema))
    if migrates and lost and lost != set(holding_rows(schema)):
        what = f"missing beside the others: {', '.join(sorted(lost))}"
        why = "only a start creates what is missing; a daemon that runs holds what belongs there"
        yield (fault if running else warning)("schema", what, why=why, hint="run `spoolhouse migrate`")
    if plan.statements:
        what = f"{len(plan.statements)} statements are missing, the first: {plan.statements[0].partition(chr(10))[0]}"
        if migrates:
            yield good("schema", f"{what} (run at start: clickhouse.migrate)")
        else:
            why = "clickhouse.migrate is off, so nobody runs them"
            yield fault("schema", what, why=why, hint="run `spoolhouse migrate`")
    elif not plan.refusals:
        yield good("schema", "as declared")


async def safety(schema: Schema, driver: Driver, *, durable: bool) -> AsyncIterator[Finding]:
    """Judge whether a repeated batch is noticed, and whether an acknowledged one stays."""
    lonely = await unguarded(schema, driver)
    for table, names in lonely.items():
        what = f"{table}: a repeated batch would be counted twice in {', '.join(names)}"
        hint = f"ALTER TABLE {names[0]} MODIFY SETTING {DEDUPLICATION_WINDOW} = {WINDOW}, and likewise the others"
        yield fault("windows", what, why="the table is held until that is mended", hint=hint)
    if not lonely:
        yield good("windows", f"repeated batches are noticed ({DEDUPLICATION_WINDOW})")
    unsafe = await unsynced(schema, driver)
    if durable and unsafe:
        why = "a power loss of the server loses what it has acknowledged; it is held until that is mended"
        hint = "run `spoolhouse migrate`"
        yield fault("durable", f"{len(unsafe)} tables do not have {', '.join(SYNCED)}", why=why, hint=hint)
    elif durable:
        yield good("durable", "rows are on the disk before they are acknowledged")


async def cluster(driver: Driver, name: str, *, keeper: bool) -> AsyncIterator[Finding]:
    """Judge the cluster that the settings name: its hosts, and what replication needs."""
    sql = """SELECT count(DISTINCT shard_num), count(), groupArrayIf(host_name, errors_count > 0)
        FROM system.clusters WHERE cluster = {name:String}"""
    ((shards, replicas, failing),) = await driver.execute(sql, {"name": name})
    if not shards:
        hint = "check clickhouse.cluster, and remote_servers in the ClickHouse server's configuration"
        yield fault("cluster", f"the server knows no cluster {name}", why="no table can be made on it", hint=hint)
        return
    yield good("cluster", f"{name} has {shards} shards and {replicas} replicas")
    if isinstance(failing, list) and failing:
        why = "what has to go there waits"
        hint = "check these hosts, and see system.clusters"
        yield warning("cluster", f"{', '.join(map(str, failing))} could not be reached lately", why=why, hint=hint)
    if not keeper:
        return
    ((macros,),) = await driver.execute("SELECT count() FROM system.macros WHERE macro IN ('shard', 'replica')")
    if int(str(macros)) < len(("shard", "replica")):
        hint = "set macros/shard and macros/replica in the configuration of each server, or clickhouse.keeper = false"
        yield fault("cluster", "the server lacks the macros shard and replica", why="replicas need names", hint=hint)
    try:
        await driver.execute("SELECT 1 FROM system.zookeeper WHERE path = '/' LIMIT 1")
    except StoreError as error:
        hint = "check ClickHouse Keeper and the server's way to it, or set clickhouse.keeper = false"
        yield fault("cluster", f"Keeper: {error.message}", why="no replicated table takes rows without it", hint=hint)


async def clock(driver: Driver, now_ms: Clock) -> AsyncIterator[Finding]:
    """Judge the two clocks, and the server's time zone."""
    before = now_ms()
    ((there, zone),) = await driver.execute("SELECT toInt64(toUnixTimestamp64Milli(now64(3))), timezone()")
    after = now_ms()
    skew = max(0, before - int(str(there)), int(str(there)) - after)
    what = f"the server's clock differs by {skew / 1000:.1f} s"
    why = "TTLs, and the times of events that have none of their own, go by them"
    hint = "run a time service (chrony, systemd-timesyncd) on both machines"
    if skew >= _WRONG_CLOCK_MS:
        yield fault("clock", what, why=why, hint=hint)
    elif skew >= _SKEW_MS:
        yield warning("clock", what, why=why, hint=hint)
    else:
        yield good("clock", "the server's clock agrees with ours")
    yield good("time zone", f"the tables hold UTC; the server's own zone is {zone}")


async def parts(driver: Driver, tables: list[str]) -> AsyncIterator[Finding]:
    """Judge how near the tables' parts are to where ClickHouse delays and refuses inserts."""
    pressing = await driver.execute(_CROWDED, {"names": tables})
    for name, count, limit in pressing:
        what = f"{name} has a partition of {int(str(count)):,} parts; inserts are delayed from {int(str(limit)):,} on"
        why = "more parts delay inserts, and in the end ClickHouse refuses them (code 252)"
        hint = "see system.merges: whether the server merges, and why not; fewer writers, larger batches"
        yield warning("parts", what, why=why, hint=hint)
    if not pressing:
        yield good("parts", "merges keep up")


async def disks(driver: Driver) -> AsyncIterator[Finding]:
    """Judge the room on the server's disks."""
    sql = "SELECT name, unreserved_space, total_space FROM system.disks WHERE total_space > 0 AND NOT is_remote"
    for name, free, total in await driver.execute(sql):
        share = int(str(free)) / int(str(total))
        what = f"the server's disk {name} has {share:.0%} free"
        if share < 0.05:  # noqa: PLR2004  # a twentieth
            why = "a merge needs as much room again as the parts it merges"
            yield warning("disks", what, why=why, hint="free or add disk space on the ClickHouse server")
        else:
            yield good("disks", what)


async def gathered(subject: str, findings: AsyncIterator[Finding]) -> list[Finding]:
    """Return all of `findings`; where the server refuses to be looked at, that is one of them, and the last."""
    result: list[Finding] = []
    try:
        async for finding in findings:
            result.append(finding)  # noqa: PERF401  # what was found before an error is kept
    except StoreError as error:
        # The daemon itself looks at these two at start, and waits until it can.
        level = Level.FAULT if subject in {"schema", "windows"} else Level.WARNING
        result.append(unknown(subject, error, level=level))
    return result
