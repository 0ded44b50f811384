"""One struct for a daemon's status: `/status`, the status page, `spoolhouse status` and systemd's STATUS= render it.

The daemon builds it (`service/status_reporter.py`); for a daemon that does not answer, `spool/inspect.py` fills in some
fields from its folder. New fields may be added; existing ones keep their names and meanings. Times of the day are ms
since 1970, durations are seconds. No field holds a secret, or the content of an event.
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
    retries: int = 0
    """How often its reading was tried again."""


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
    """It waits for a person; else it is tried again until it succeeds."""
    error: str
    code: int | None
    """ClickHouse's own."""
    hint: str | None
    seconds: float
    """For how long now."""
    summary: str
    """All of it that matters, as a sentence."""


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
    """Stages that work and make no progress, and for how many seconds."""


REJECTED_HINT = "rejected/ has each line and its reason; after a fix: `spoolhouse replay --rejected --dry-run`"
RETRY_HINT = "failed/ has the reason beside each file; after a repair: `spoolhouse retry --all --dry-run`"


class FileCount(Struct, frozen=True, kw_only=True):
    """Files that lie somewhere."""

    files: int = 0
    bytes: int = 0

    def plus(self, size: int) -> "FileCount":
        """Return it with one more file."""
        return FileCount(files=self.files + 1, bytes=self.bytes + size)


class Backlog(Struct, frozen=True, kw_only=True):
    """Files that are not settled yet."""

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
    not_taken_files: int = 0
    """Files and folders in the spool that will not be claimed, by the last scan."""
    not_taken: list[str] = []
    """The first of them, with their reasons."""
    unwatched: str = ""
    """Why the system does not report all new files, with the fix: they are found by scans. Empty if it does."""


class TypeStatus(Struct, frozen=True, kw_only=True):
    """The files of one event type's folder since the start; figures count lines."""

    type: str
    table: str
    landed: int
    rejected: int
    files: int
    held: bool
    unknown_lines: int = 0
    """Lines with fields that no column takes."""
    unknown: dict[str, int] = field(default_factory=dict)
    """The same by field, the most frequent first; after 64 of them, the rest is `other`."""
    converted_lines: int = 0
    """Lines with values that were converted."""
    converted: dict[str, int] = field(default_factory=dict)
    """The same by field."""
    shapes: dict[str, int] = field(default_factory=dict)
    """Lines of foreign shapes, by shape."""


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
    """One daemon at one moment, by its own report or by its folder. A field that is unknown is None or empty."""

    instance: str | None
    """None from the start until the spool can be used."""
    state: str
    """running, starting, stopping, paused, waiting, held or stuck; from the folder alone also elsewhere, adopted,
    stopped, silent, gone, ended or unknown."""
    why: str | None
    """The reason for the state and a hint, if there is more to say."""
    pid: int | None
    host: str | None
    spool: str | None
    at_ms: int
    url: str | None = None
    """Where it was asked, or says that it listens."""
    claimed: FileCount | None = None
    """Files in its folder that are claimed."""
    quiet_seconds: float | None = None
    """Since its journal was last written."""
    version: str | None = None
    started_ms: int | None = None
    readiness: Readiness | None = None
    liveness: Liveness | None = None
    backlog: Backlog | None = None
    rates: Rates | None = None
    loop_lag: float | None = None
    """Seconds; the longest that the event loop was ever late."""
    grace: float | None = None
    """Seconds that a stop may take."""
    paused: str | None = None
    """Since when, and why; None while new files are claimed."""
    last_landed_ms: int | None = None
    bytes: int = 0
    files: dict[str, int] = field(default_factory=dict)
    """Settled files by outcome: processed, deleted, failed."""
    types: list[TypeStatus] = field(default_factory=list)
    rejects: dict[str, int] = field(default_factory=dict)
    """By reason."""
    retries: dict[str, int] = field(default_factory=dict)
    """By ClickHouse's code, `none` where there was no answer."""
    adoptions: int = 0
    recent_files: list[RecentFile] = field(default_factory=list)
    """The newest first."""
    recent_rejects: list[RecentReject] = field(default_factory=list)
    history: list[RatePoint] = field(default_factory=list)
    """The oldest first, evenly spaced."""
    servers: dict[str, bool] = field(default_factory=dict)
    """Whether each host of `clickhouse.url` could take rows when it was last asked; empty where one is named."""


def judge(readiness: Readiness, liveness: Liveness, paused: str | None) -> tuple[str, str | None]:
    """Return a daemon's state, and why."""
    if not liveness.alive:
        stages = ", ".join(f"{stage} for {seconds:.0f} s" for stage, seconds in liveness.stuck.items())
        return "stuck", f"stages make no progress: {stages}; a restart is safe"
    if readiness.reasons:
        held = [reason for reason in readiness.reasons if reason.held]
        return "held" if held else "waiting", describe((held or readiness.reasons)[0])
    return readiness.state, paused and f"{paused}; spoolhouse resume"


def describe(trouble: Trouble) -> str:
    """Return a trouble as a sentence, with its hint."""
    text = trouble.summary or f"{trouble.scope}: {trouble.error}"
    error = "" if trouble.error in text else f" ({trouble.error})"
    code = "" if trouble.code is None else f" (ClickHouse code {trouble.code})"
    hint = f"; {trouble.hint}" if trouble.hint else ""
    return f"{text}{error}{code}{hint}"
