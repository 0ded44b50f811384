"""Lines of the agent family: what is rejected, with which field, and how much one line may become."""

import json
from typing import Any

import pytest

from spoolhouse.decode.line_decoder import Decoded, LineDecoder, Origin
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.decode.reject import Reason
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.json_paths import LONGEST_INHERITED, MOST_ELEMENTS

DECODER = LineDecoder(BUILT_IN)
ORIGIN = Origin(project="p", policy="warn", clock_ms=1_795_262_400_000)
HEAD = {"event_id": "e", "project_id": "p", "run_id": "r", "timestamp": "2026-11-21T12:00:00Z"}
STEP = {"number": 1, "name": "n", "type": "output"}


def event(kind: str, **fields: Any) -> dict[str, Any]:
    merged = HEAD | {"event_type": kind} | fields
    return {key: value for key, value in merged.items() if value is not ...}


def decode(*events: dict[str, Any]) -> Decoded:
    return DECODER.decode(Piece(offset=0, data=b"".join(json.dumps(one).encode() + b"\n" for one in events)), ORIGIN)


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        (event("prompt_call", run_id=None), Reason.MISSING_FIELD, "run_id"),
        (event("prompt_call", env="test"), Reason.BAD_CHOICE, "env"),
        (event("prompt_call", status="fine"), Reason.BAD_CHOICE, "status"),
        (event("prompt_call", tags="a"), Reason.WRONG_TYPE, "tags"),
        (event("prompt_call", tags=["a", None]), Reason.WRONG_TYPE, "tags"),
        (event("prompt_call", client="host"), Reason.WRONG_TYPE, "client"),
        (event("prompt_call", client={"hostname": []}), Reason.WRONG_TYPE, "client.hostname"),
        (event("error", error={"code": []}), Reason.WRONG_TYPE, "error.code"),
        (event("error", error=["m"]), Reason.WRONG_TYPE, "error"),
        (event("performance_alert", alert_window_minutes=2**31), Reason.OUT_OF_RANGE, "alert_window_minutes"),
        (event("agent_step"), Reason.MISSING_FIELD, "step.number"),
        (event("agent_step", step=STEP | {"type": "thinking"}), Reason.BAD_CHOICE, "step.type"),
        (event("agent_step", step=STEP | {"number": 1.5}), Reason.WRONG_TYPE, "step.number"),
        (event("tool_call"), Reason.MISSING_FIELD, "tool_name"),
        (event("prompt_call", tool_calls={}), Reason.WRONG_TYPE, "tool_calls"),
        (event("prompt_call", tool_calls=[None]), Reason.WRONG_TYPE, "tool_calls"),
        (event("prompt_call", tool_calls=[{"tool_name": "a"}, {}]), Reason.MISSING_FIELD, "tool_calls[1].tool_name"),
        (
            event("prompt_call", tool_calls=[{"tool_name": "a", "error": {"type": {}}}]),
            Reason.WRONG_TYPE,
            "tool_calls[0].error.type",
        ),
        (event("agent_stop"), Reason.UNKNOWN_TYPE, "event_type"),
    ],
)
def test_what_is_wrong_is_said(line: dict[str, Any], reason: Reason, field: str) -> None:
    """And nothing of the line lands, in no table; its neighbours do."""
    good = event("agent_step", step=STEP, tool_calls=[{"tool_name": "a"}])
    for decoded in (decode(line), decode(good, line, good)):
        [reject] = decoded.rejects
        assert (reject.reason, reject.field) == (reason, field)
    assert {table: rows.count for table, rows in decoded.rows.items()} == {
        "events": 2,
        "agent_steps": 2,
        "tool_calls": 2,
    }


@pytest.mark.parametrize("company", [(), ({"type": "nothing"},)])
@pytest.mark.parametrize("more", [0, 1])
def test_a_line_does_not_become_gigabytes_of_rows(company: tuple[dict[str, Any], ...], more: int) -> None:
    """Each call repeats the ids of its event, in bulk and line by line."""
    long = event("prompt_call", event_id="e" * (LONGEST_INHERITED - 1 + more), tool_calls=[{"tool_name": "a"}] * 2)
    many = event("prompt_call", tool_calls=[{"tool_name": "a"}] * (MOST_ELEMENTS + more))
    for line, count in ((long, 2), (many, MOST_ELEMENTS)):
        decoded = decode(line, *company)
        assert len(decoded.rejects) == more + len(company)
        if more:
            assert (decoded.rejects[0].reason, decoded.rows) == (Reason.OUT_OF_RANGE, {})
        else:
            assert decoded.rows["tool_calls"].count == count
    alone = decode(event("prompt_call", event_id="e" * 10_000))
    assert (alone.rejects, alone.rows["events"].count) == ([], 1)


def test_rows_of_types_that_share_a_table_keep_the_order_of_their_lines() -> None:
    """Whoever looks for the line of a row goes by its number."""
    kinds = ["prompt_call", "error", "tool_call", "prompt_call", "tool_call", "error"]
    lines = [
        event(
            kind,
            event_id=str(number),
            tool_name="own" if kind == "tool_call" else ...,
            tool_calls=[{"tool_name": "x"}] * (number % 2),
        )
        for number, kind in enumerate(kinds)
    ]
    decoded = decode(*lines)
    assert DECODER._bulk(b"".join(json.dumps(one).encode() + b"\n" for one in lines), ORIGIN) is not None
    rows = [json.loads(row) for row in decoded.rows["events"].data.splitlines()]
    assert [row[0] for row in rows] == [str(number) for number in range(len(kinds))]
    calls = [json.loads(row) for row in decoded.rows["tool_calls"].data.splitlines()]
    assert [(row[0], row[3]) for row in calls] == [("1", 1), ("2", 0), ("3", 1), ("4", 0), ("5", 1)]
