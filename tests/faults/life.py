"""What a shipment meets on its way, and how a test makes a daemon come by each place."""

import gzip
import os
from collections.abc import Mapping

from spoolhouse.failpoints import VARIABLE
from tests.faults.oracle import TOO_LONG, Oracle

LONG = os.environ.get("SPOOLHOUSE_TEST_FAULTS") == "long"
"""`make faults`: each fault at each place. Else each place once, and each fault at those that differ most."""

QUICK = {
    "SPOOLHOUSE_CLICKHOUSE__MIGRATE": "false",
    "SPOOLHOUSE_ADOPT__INTERVAL": "0.2",
    "SPOOLHOUSE_BATCH__LINGER": "0.05",
    "SPOOLHOUSE_SPOOL__APPEND_WATCH": "0.2",
    "SPOOLHOUSE_SPOOL__MAX_LINE": "64KiB",
    "SPOOLHOUSE_RETRY__FIRST": "0.05",
    "SPOOLHOUSE_RETRY__CAP": "0.5",
    "SPOOLHOUSE_REJECT__MAX_RATIO": "1",
}
"""Small waits: what a fault hits is a place, not a moment."""

BY_COPY = "files.move@*=EXDEV"
"""The archive is on another disk."""

ALSO: Mapping[str, str] = {
    "files.copy": BY_COPY,
    "files.copying": BY_COPY,
    "journal.copied": BY_COPY,
    "files.copied": BY_COPY,
    "files.copy_named": BY_COPY,
    "files.copy_synced": BY_COPY,
}
"""What else must be armed for a place to be reached."""

AFTER: Mapping[str, str] = {
    "home.before_release": "home.claimed",
    "home.released": "home.claimed",
    "adopt.": "insert.answered",
    "insert.looked": "insert.answered",
    "journal.cuts": "insert.answered",
    "adopt.moved": "settle.synced",
    "mend.": "insert.answered",
}
"""Where an instance must have died before, for the next one to come by a place."""

REFUSED: Mapping[str, Mapping[str, str]] = {
    "journal.cut": {},
    "journal.refuse": {},
    "journal.reconsider": {"SPOOLHOUSE_REJECT__MAX_RATIO": "0", "SPOOLHOUSE_REJECT__MIN_ROWS": "1"},
    "poison.rejected": {},
}
"""Where only rows that ClickHouse refuses come by, and with which settings."""
DELETING = ("settle.before_deletion", "settle.deleted")


def armed(place: str, action: str) -> dict[str, str]:
    """Return the environment of a daemon that meets `action` at `place`."""
    traps = [f"{place}={action}", *filter(None, [ALSO.get(place.partition("@")[0])])]
    return {**QUICK, **REFUSED.get(place, {}), VARIABLE: ",".join(traps)}


def url_for(oracle: Oracle, place: str) -> str:
    """Return the URL that leads a daemon by `place`."""
    return oracle.database.http_url if place.startswith("http.") else oracle.database.native_url


def before(place: str) -> str | None:
    """Return where an instance must have died for the next one to come by `place`; None if any does."""
    return AFTER.get(place) or AFTER.get(place.partition(".")[0] + ".")


def feed(oracle: Oracle, place: str = "") -> None:
    """Drop one file of each kind: lines for two tables, a line that is too long, nothing, archives whole and not."""
    if place in REFUSED:
        oracle.drop_refused()
    oracle.drop(12, logs=3, bad=2)
    oracle.drop(5, logs=0, bad=0)
    oracle.drop(9, packed=True, bad=1)
    oracle.drop_raw(f"{len(oracle.files)}-empty.jsonl", b"")
    oracle.drop_too_long()
    oracle.drop_raw(f"{len(oracle.files)}-cut.jsonl.gz", gzip.compress(TOO_LONG * 3)[:-20], unreadable=True)
