"""Judges the server: its version, profile, cluster, clock, disks and schema, and whether each line will land once."""

from collections.abc import AsyncIterator, Callable

from spoolhouse.doctor.finding import Finding, Level, fault, good, unknown, warning
from spoolhouse.doctor.ports import InspectedStore, PartCount
from spoolhouse.errors import StoreError

OLDEST = (25, 3)
"""The oldest server that ClickHouse still supports; older ones may work, and are not tested."""
_SKEW_MS, _WRONG_CLOCK_MS = 5_000, 3_600_000
_LEAST_MEMORY = 1 << 30
_MANY = 3
_NEAR = 0.5
_REFUSES_SOON = 0.75
"""A server that refuses inserts without delaying them first is judged by this share of its limit."""

Clock = Callable[[], int]
"""Ms since 1970."""


async def version(store: InspectedStore) -> AsyncIterator[Finding]:
    """Judge the server's version, and the settings that it lacks."""
    found = await store.version()
    if found.number < OLDEST:
        why = f"Spoolhouse is not tested with servers before {OLDEST[0]}.{OLDEST[1]}"
        yield warning("version", f"ClickHouse {found.text}", why=why, hint="update the ClickHouse server")
    else:
        yield good("version", f"ClickHouse {found.text}")
    if found.lacking:
        what, why = f"it does not know {', '.join(found.lacking)}", "a repeated batch could be counted twice"
        yield fault("version", what, why=why, hint="update the ClickHouse server")


async def profile(store: InspectedStore) -> AsyncIterator[Finding]:
    """Judge what the user's profile forbids, and which of its settings Spoolhouse overrides."""
    found, user = await store.profile(), store.user
    hint = f"give {user} a profile with readonly = 0, and no constraints on these settings"
    if found.readonly:
        why = "nothing can be inserted, and no setting can be sent with an insert"
        yield fault("profile", f"{user} is read-only (readonly = {found.readonly})", why=why, hint=hint)
    elif found.fixed:
        what = f"{user} may not change {', '.join(found.fixed[:_MANY])}"
        why = "each insert sends them, so that it does not depend on a profile"
        yield fault("profile", what + (" and others" if len(found.fixed) > _MANY else ""), why=why, hint=hint)
    else:
        asynchronous = "on for other inserts, off for ours" if found.async_insert else "off"
        yield good("profile", f"the settings of an insert may be sent; async_insert is {asynchronous}")
    if 0 < found.max_memory < _LEAST_MEMORY:
        why = "an insert of half a million rows may need more, and is then refused each time"
        hint = f"raise max_memory_usage in the profile of {user}, or lower batch.max_bytes"
        yield warning("profile", f"max_memory_usage is {found.max_memory >> 20} MiB", why=why, hint=hint)


async def drift(store: InspectedStore, *, running: bool) -> AsyncIterator[Finding]:
    """Judge how the live schema differs from the declared one. `running`: a daemon has started with it already."""
    found = await store.drift()
    for one in found.refused:
        why = "its table is held: the change would lose data or count rows again, so it is left to a person"
        yield fault("schema", one.text, why=why, hint=f"see `spoolhouse migrate --check`; {one.statement}")
    if store.migrates and found.missing and not found.missing_all:
        what = f"missing beside the others: {', '.join(found.missing)}"
        why = "only a start creates missing tables; a running daemon holds the events that belong there"
        yield (fault if running else warning)("schema", what, why=why, hint="run `spoolhouse migrate`")
    if found.statements:
        first = found.statements[0].partition("\n")[0]
        what = f"{len(found.statements)} statements are missing, the first: {first}"
        if store.migrates:
            yield good("schema", f"{what} (run at start: clickhouse.migrate)")
        else:
            why = "clickhouse.migrate is off, so that a start does not run them"
            yield fault("schema", what, why=why, hint="run `spoolhouse migrate`")
    elif not found.refused:
        yield good("schema", "as declared")


async def safety(store: InspectedStore, *, durable: bool) -> AsyncIterator[Finding]:
    """Judge whether a repeated batch is recognized, and whether an acknowledged one survives a power loss."""
    unguarded = await store.unguarded()
    for table in unguarded:
        what = f"{table.table}: a repeated batch would be counted twice in {', '.join(table.targets)}"
        yield fault("windows", what, why="the table is held until that is fixed", hint=table.hint)
    if not unguarded:
        yield good("windows", "repeated batches are recognized (deduplication windows)")
    unsynced = await store.unsynced()
    if durable and unsynced.tables:
        why = "a power loss of the server loses acknowledged rows; all tables are held until that is fixed"
        what = f"{len(unsynced.tables)} tables do not have {', '.join(unsynced.settings)}"
        yield fault("durable", what, why=why, hint="run `spoolhouse migrate`")
    elif durable:
        yield good("durable", "rows are on the disk before they are acknowledged")


async def cluster(store: InspectedStore) -> AsyncIterator[Finding]:
    """Judge the cluster that the settings name, if they do: its hosts, and what replication needs."""
    found = await store.cluster()
    if found is None:
        return
    if not found.shards:
        hint = "check clickhouse.cluster, and remote_servers in the ClickHouse server's configuration"
        what = f"the server knows no cluster {found.name}"
        yield fault("cluster", what, why="no table can be created on it", hint=hint)
        return
    yield good("cluster", f"{found.name} has {found.shards} shards and {found.replicas} replicas")
    if found.failing:
        what, why = f"{', '.join(found.failing)} could not be reached lately", "rows for these hosts wait"
        yield warning("cluster", what, why=why, hint="check these hosts, and see system.clusters")
    if not found.has_macros:
        hint = "set macros/shard and macros/replica in the configuration of each server, or clickhouse.keeper = false"
        yield fault("cluster", "the server lacks the macros shard and replica", why="replicas need names", hint=hint)
    if found.keeper_error is not None:
        hint = "check ClickHouse Keeper and the server's connection to it, or set clickhouse.keeper = false"
        why = "no replicated table takes rows without it"
        yield fault("cluster", f"Keeper: {found.keeper_error.message}", why=why, hint=hint)


async def clock(store: InspectedStore, now_ms: Clock) -> AsyncIterator[Finding]:
    """Judge the two clocks, and the server's time zone."""
    before = now_ms()
    there = await store.clock()
    skew = max(0, before - there.now_ms, there.now_ms - now_ms())
    what = f"the server's clock differs by {skew / 1000:.1f} s"
    why = "TTLs, and the times of events that have none of their own, depend on the clocks"
    hint = "run a time service (chrony, systemd-timesyncd) on both machines"
    if skew >= _WRONG_CLOCK_MS:
        yield fault("clock", what, why=why, hint=hint)
    elif skew >= _SKEW_MS:
        yield warning("clock", what, why=why, hint=hint)
    else:
        yield good("clock", "the server's clock agrees with ours")
    yield good("time zone", f"the tables hold UTC; the server's own zone is {there.zone}")


async def parts(store: InspectedStore) -> AsyncIterator[Finding]:
    """Judge how near the tables' parts are to the numbers at which ClickHouse delays and refuses inserts."""
    crowded = [table for table in await store.parts() if table.parts > _NEAR * limit_of(table) > 0]
    for table in crowded:
        what = f"{table.table} has a partition of {table.parts:,} parts; inserts are delayed from"
        why = "inserts are delayed by the server then, and refused in the end (code 252)"
        hint = "see system.merges: whether the server merges, and why not; fewer writers, larger batches"
        yield warning("parts", f"{what} {table.delay_at:,} on", why=why, hint=hint)
    if not crowded:
        yield good("parts", "merges keep up")


def limit_of(table: PartCount) -> float:
    """Return the number of parts at which inserts are delayed, or are about to be refused; 0: never."""
    limits = [float(table.delay_at)] if table.delay_at else []
    limits += [table.refuse_at * _REFUSES_SOON] if table.refuse_at else []
    return min(limits, default=0.0)


async def disks(store: InspectedStore) -> AsyncIterator[Finding]:
    """Judge the space on the server's disks."""
    for disk in await store.disks():
        share = disk.free / disk.total
        what = f"the server's disk {disk.name} has {share:.0%} free"
        if share < 0.05:  # noqa: PLR2004  # a twentieth
            why = "a merge needs as much space again as the parts that it merges"
            yield warning("disks", what, why=why, hint="free or add disk space on the ClickHouse server")
        else:
            yield good("disks", what)


async def hosts(store: InspectedStore) -> AsyncIterator[Finding]:
    """Judge the hosts of `clickhouse.url`, where it names several: do they answer, and hold the same tables."""
    found = await store.hosts()
    if found is None:
        return
    if found.disagreement is not None:
        why = "a batch that one host has may be repeated on another only if that is a replica"
        hint = found.disagreement.hint or "see the message"
        yield fault("hosts", found.disagreement.message, why=why, hint=hint)
    else:
        yield good("hosts", f"{', '.join(found.present)}: replicas of the same tables")
    for name, error in found.away.items():
        why = "batches that may be on it wait for it; after a restart, so does all that was under way"
        yield warning("hosts", f"{name} is away: {error.message}", why=why, hint=error.hint)


async def gathered(subject: str, findings: AsyncIterator[Finding]) -> list[Finding]:
    """Return all of `findings`; if the server refuses a question, the last one says so."""
    result: list[Finding] = []
    try:
        async for finding in findings:
            result.append(finding)  # noqa: PERF401  # findings before an error are kept
    except StoreError as error:
        # The daemon asks for these two at its start, and waits until it has an answer.
        level = Level.FAULT if subject in {"schema", "windows"} else Level.WARNING
        result.append(unknown(subject, error, level=level))
    return result
