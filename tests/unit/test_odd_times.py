"""Events that are older than their table keeps them, or lie far ahead: counted, and rejected where that is wanted."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin, TimePolicy
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.events.builtin import BUILT_IN

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CLOCK_MS = int(NOW.timestamp() * 1000)
DECODER = LineDecoder(BUILT_IN)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def line(kind: str, time: datetime) -> bytes:
    events: dict[str, dict[str, Any]] = {
        "log": {"type": "log", "id": "1", "projectId": "p", "level": "info", "message": "m"},
        "score": {"type": "score", "id": "1", "projectId": "p", "name": "n", "value": 1},
        "error": {"event_type": "error", "event_id": "1", "project_id": "p", "run_id": "r"},
    }
    return json.dumps(events[kind] | {"timestamp": time.isoformat()}).encode() + b"\n"


def decode(data: bytes, expired: TimePolicy = "warn", future: TimePolicy = "warn") -> Decoded:
    origin = Origin(project="p", policy="warn", clock_ms=CLOCK_MS, expired=expired, future=future)
    return DECODER.decode(Piece(offset=0, data=data), origin)


@pytest.mark.parametrize(
    ("kind", "time", "counted"),
    [
        ("log", NOW - 30 * DAY, (0, 0)),
        ("log", NOW - 30 * DAY - MICROSECOND, (1, 0)),
        ("score", NOW - 30 * DAY - MICROSECOND, (0, 0)),
        ("score", NOW - 366 * DAY, (1, 0)),
        ("error", NOW - 91 * DAY, (1, 0)),
        ("log", datetime(1970, 1, 1, tzinfo=UTC), (1, 0)),
        ("log", NOW + DAY - MICROSECOND, (0, 0)),
        ("log", NOW + DAY, (0, 1)),
        ("error", datetime(2099, 12, 31, tzinfo=UTC), (0, 1)),
    ],
)
def test_the_table_decides_what_is_too_old(kind: str, time: datetime, counted: tuple[int, int]) -> None:
    decoded = decode(line(kind, time))
    assert (decoded.expired, decoded.future) == counted
    assert (decoded.lines, decoded.rejects) == (1, [])
    trusted = decode(line(kind, time), "trust", "trust")
    assert (trusted.expired, trusted.future, trusted.rows) == (0, 0, decoded.rows)
    rejected = decode(line(kind, time), "reject", "reject")
    reasons = [Reason.EXPIRED] * counted[0] + [Reason.FUTURE] * counted[1]
    assert [(reject.reason, reject.field) for reject in rejected.rejects] == [(one, "timestamp") for one in reasons]
    assert (rejected.expired, rejected.future, rejected.lines) == (0, 0, 1)


def test_what_is_beyond_all_tables_is_rejected_in_any_case() -> None:
    decoded = decode(line("log", datetime(2100, 1, 1, tzinfo=UTC)), "trust", "trust")
    assert [reject.reason for reject in decoded.rejects] == [Reason.ABSURD_TIME]


POLICIES = st.sampled_from(["trust", "warn", "reject"])
TIMES = st.sampled_from(
    [NOW + shift for shift in (-400 * DAY, -91 * DAY, -30 * DAY, -31 * DAY, -DAY, DAY - MICROSECOND, 2 * DAY)]
)


@given(st.lists(st.tuples(st.sampled_from(["log", "score", "error"]), TIMES), max_size=8), POLICIES, POLICIES)
@settings(max_examples=80, deadline=None)
def test_company_does_not_matter(drawn: list[tuple[str, datetime]], expired: TimePolicy, future: TimePolicy) -> None:
    """However a piece is cut, the same lines are counted and rejected."""
    data = [line(kind, time) for kind, time in drawn]
    whole = decode(b"".join(data), expired, future)
    alone = [decode(one, expired, future) for one in data]
    for count in ("lines", "expired", "future"):
        assert getattr(whole, count) == sum(getattr(one, count) for one in alone)
    assert [reject.reason for reject in whole.rejects] == [one.rejects[0].reason for one in alone if one.rejects]
    rows: dict[str, bytes] = {}
    for one in alone:
        for table, some in one.rows.items():
            rows[table] = rows.get(table, b"") + some.data
    assert {table: some.data for table, some in whole.rows.items()} == rows
