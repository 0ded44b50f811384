"""What a daemon says of itself: the JSON of `/status`, which `spoolhouse status` and the status page read.

Fields may be added; one that is there keeps its name and its meaning. Times of the day are ms since 1970, spans of
time are seconds. Nothing in it is a secret, and nothing in it is the content of an event.
"""

from msgspec import Struct, field


class RecentFile(Struct, frozen=True, kw_only=True):
    """A file that is done."""

    path: str
    """Where it was dropped, relative to the spool, as text that can be printed."""
    destination: str | None
    """Where it is now; None if it was deleted, as asked."""
    at_ms: int
    bytes: int
    rows: int
    rejected: int
    seconds: float
    """From its claim to its end."""
    failure: str | None = None
    """Why it is in `failed/`."""


class RecentReject(Struct, frozen=True, kw_only=True):
    """A rejected line; its bytes are in `rejected/`."""

    file: str
    line: int
    reason: str
    field: str
    detail: str
    at_ms: int


class Trouble(Struct, frozen=True, kw_only=True):
    """Why ClickHouse takes no rows."""

    scope: str
    """The table that is held, or `server`."""
    types: list[str]
    """The event types that wait for it; none for the ledger, which is written later."""
    held: bool
    """Only a person can mend it; else it is tried again until it passes."""
    error: str
    code: int | None
    """ClickHouse's own."""
    hint: str | None
    seconds: float
    """For how long now."""
    summary: str = ""
    """All of it that matters, as a sentence; empty from a daemon of an earlier version."""


class Readiness(Struct, frozen=True, kw_only=True):
    """The answer of `/readyz`."""

    ready: bool
    """ClickHouse takes rows of all types."""
    state: str
    """starting, running, paused or stopping."""
    reasons: list[Trouble]


class Liveness(Struct, frozen=True, kw_only=True):
    """The answer of `/livez`."""

    alive: bool
    stuck: dict[str, float]
    """Stages that work and do not get on, and for how many seconds."""


class Backlog(Struct, frozen=True, kw_only=True):
    """What waits."""

    pending_files: int
    """In the spool, by the last scan."""
    pending_bytes: int
    oldest_seconds: float
    """Since the oldest of them was last written; 0 if there is none."""
    claimed_files: int
    """On the way, by this instance."""
    shipments: int
    """Journalled, and not acknowledged yet."""
    unmovable_files: int
    """Their rows have landed; they stay claimed until they can be moved."""
    held_instances: int
    ledger_entries: int = 0
    """In the journals, and not in the ledger yet."""
    unmovable_reason: str | None = None
    """Why one of the unmovable files cannot be moved."""


class TypeStatus(Struct, frozen=True, kw_only=True):
    """What came of the files of one event type's folder, since the start; figures are of lines."""

    type: str
    table: str
    landed: int
    rejected: int
    files: int
    held: bool


class Rates(Struct, frozen=True, kw_only=True):
    """Per second, averaged over the last `window` seconds."""

    window: float
    rows: float
    bytes: float
    files: float


class RatePoint(Struct, frozen=True, kw_only=True):
    """One point of the chart; rows and bytes are per second since the point before."""

    at_ms: int
    rows: float
    bytes: float
    pending_files: int
    pending_bytes: int


class Status(Struct, frozen=True, kw_only=True):
    """One daemon, at one moment."""

    version: str
    instance: str | None
    """None until ClickHouse has answered."""
    pid: int
    host: str
    spool: str
    at_ms: int
    started_ms: int
    readiness: Readiness
    liveness: Liveness
    backlog: Backlog
    rates: Rates
    loop_lag: float
    """Seconds; the longest that the event loop was ever late."""
    paused: str | None
    """Since when, and why; None while new files are claimed."""
    last_landed_ms: int | None
    bytes: int
    files: dict[str, int]
    """Settled files by outcome: processed, deleted, failed."""
    types: list[TypeStatus]
    rejects: dict[str, int]
    """By reason."""
    retries: dict[str, int]
    """By ClickHouse's code, `none` where there was no answer."""
    adoptions: int
    recent_files: list[RecentFile]
    """The newest first."""
    recent_rejects: list[RecentReject]
    history: list[RatePoint]
    """The oldest first, evenly spaced."""
    servers: dict[str, bool] = field(default_factory=dict)
    """Whether each host of `clickhouse.url` could take rows when it was last asked; empty where one is named."""
