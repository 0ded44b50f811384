"""Every metric, in one place: `config/metrics.md` lists them for people, and a test compares the two.

Stages count batches, files and pieces, never single events. `status_reporter` updates gauges of a state (held tables,
ages) on each request. A label has few values: declared types and tables, ClickHouse's error codes, our own reasons;
never a value of an event or a file's name. Names of fields are bounded.
"""

import sys
from collections.abc import Mapping

from spoolhouse import __version__
from spoolhouse.monitoring.counters import Counter, Gauge, Histogram, Labels, NameCounter

# Throughput.

LINES = Counter(
    "spoolhouse_lines_total",
    "Lines of shipments that are acknowledged as a whole, by the type of their folder. outcome is landed, or rejected "
    "(the line is in rejected/).",
    ["type", "outcome"],
)
FILES = Counter(
    "spoolhouse_files_total",
    "Files settled, by the type of their folder. outcome is processed, deleted (as asked), or failed (unreadable).",
    ["type", "outcome"],
)
BYTES = Counter(
    "spoolhouse_read_bytes_total",
    "Bytes of files, as they lie on the disk, whose lines have all been acknowledged or rejected.",
    ["type"],
)
REJECTS = Counter("spoolhouse_rejects_total", "Rejected lines, by reason.", ["reason"])
PROJECT_MISMATCHES = Counter(
    "spoolhouse_project_mismatches_total",
    "Lines whose project is not that of their folder and that were ingested all the same (spool.project).",
)

ODD_TIMES = Counter(
    "spoolhouse_odd_times_total",
    "Lines of events that are older than their table's TTL (expired), or more than a day ahead (future), and "
    "that were ingested all the same (spool.expired, spool.future).",
    ["time"],
)

# Lines that are not written as declared, by the type of their folder. A name has few values: `NameCounter` bounds them.

UNKNOWN_LINES = Counter(
    "spoolhouse_unknown_field_lines_total",
    "Lines that landed with fields that no column takes (events.unknown).",
    ["type"],
)
UNKNOWN_FIELDS = NameCounter(
    "spoolhouse_unknown_fields_total",
    "Lines with a field that no column takes, by field. 64 fields a type have a name of their own, the rest is other.",
    ["type", "field"],
)
CONVERTED_LINES = Counter(
    "spoolhouse_converted_lines_total",
    "Lines that landed with values that were converted: numbers as text, choices by other names.",
    ["type"],
)
CONVERSIONS = NameCounter(
    "spoolhouse_conversions_total",
    "Lines with a value that was converted, by field. 64 fields a type have a name of their own, the rest is other.",
    ["type", "field"],
)
SHAPES = NameCounter(
    "spoolhouse_foreign_lines_total",
    "Lines that landed and are of a foreign shape, as other programs write them.",
    ["type", "shape"],
)

# Backlog: pending and claimed files.

PENDING_FILES = Gauge("spoolhouse_pending_files", "Files that wait in the spool, as the last scan found them.")
PENDING_BYTES = Gauge("spoolhouse_pending_bytes", "Bytes that wait in the spool, as the last scan found them.")
NOT_TAKEN = Gauge(
    "spoolhouse_not_taken",
    "Files and folders in the spool that are not ingested, as the last scan found them; the log says why.",
)
OLDEST_PENDING = Gauge(
    "spoolhouse_oldest_pending_age_seconds",
    "Seconds since the oldest pending file was last written; 0 if none is pending.",
)
CLAIMED_FILES = Gauge("spoolhouse_claimed_files", "Files that this instance has claimed and not settled yet.")
IN_FLIGHT = Gauge(
    "spoolhouse_shipments_in_flight",
    "Shipments that are journalled and not acknowledged yet, those of held tables included.",
)
PAUSED = Gauge("spoolhouse_paused", "1 while the spool is paused (spoolhouse pause): nothing new is claimed; else 0.")
UNMOVABLE_FILES = Gauge(
    "spoolhouse_unmovable_files",
    "Files whose rows have landed and that cannot be moved now (permissions, a full disk).",
)
HELD_INSTANCES = Gauge(
    "spoolhouse_held_instances",
    "Folders of dead instances that cannot be adopted: claimed files without a readable journal.",
)
LEDGER_ENTRIES = Gauge(
    "spoolhouse_ledger_entries_waiting",
    "Ledger entries that are in the journals, and not in ClickHouse yet.",
)

# ClickHouse.

ROWS = Counter(
    "spoolhouse_inserted_rows_total",
    "Rows that ClickHouse acknowledged, insert by insert; a replay counts again.",
    ["table"],
)
INSERT_SECONDS = Histogram(
    "spoolhouse_insert_duration_seconds",
    "Seconds of each insert that was acknowledged, the reading of its rows included.",
    ["table"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
LAST_LANDED = Gauge(
    "spoolhouse_last_landed_timestamp_seconds",
    "When ClickHouse last acknowledged an insert, in seconds since 1970; 0 if it has not yet.",
)
RETRIES = Counter(
    "spoolhouse_retries_total",
    "Attempts that failed and are repeated. code is ClickHouse's, or none where there was none; kind is transient, "
    "operator (waits for a person), data (rows are refused: sent again in parts), or disk (the spool's own).",
    ["code", "kind"],
)
READY = Gauge("spoolhouse_ready", "1 while ClickHouse takes rows of all types, as /readyz says; else 0.")
TABLE_HELD = Gauge(
    "spoolhouse_table_held",
    "1 while rows of this table wait for ClickHouse or for a person, as /readyz says; else 0.",
    ["table"],
)

SERVER_UP = Gauge(
    "spoolhouse_server_up",
    "1 if this host of clickhouse.url answered, and had its Keeper, when it was last asked, else 0; there if "
    "several are named.",
    ["server"],
)
FAILOVERS = Counter("spoolhouse_failovers_total", "Changes of the host of clickhouse.url that takes new inserts.")

# This process.

ADOPTIONS = Counter("spoolhouse_adoptions_total", "Folders of dead instances that were taken over.")
LOOP_LAG = Histogram(
    "spoolhouse_event_loop_lag_seconds",
    "The delay of the event loop, measured 50 times a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
)
STUCK_STAGES = Gauge("spoolhouse_stuck_stages", "Stages that work and make no progress, as /livez says.")
BUILD = Gauge("spoolhouse_build_info", "Always 1; the labels say what runs.", ["version", "python"])
BUILD.labels(__version__, sys.version.split()[0]).set(1)

ALL = tuple(value for value in globals().values() if isinstance(value, Counter | Gauge | Histogram))
"""In the order of their definition."""


def read() -> Mapping[str, Mapping[Labels, float]]:
    """Return all present values: by sample name, then by labels."""
    values: dict[str, dict[Labels, float]] = {}
    for metric in ALL:
        for name, labels, value in metric.samples():
            values.setdefault(name, {})[labels] = value
    return values
