"""Events for the query tests, and a way to land them."""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.engine import Database
from tests.integration.test_flow import ingest

PREFIX = "mastra_admin_"
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
"""No event is later."""
Event = dict[str, Any]


def at(minutes: float = 0) -> str:
    """Return the time so long before `NOW`, as a producer writes it."""
    return (NOW - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def trace(number: int, **fields: object) -> Event:
    """Return a trace; the higher its number, the older it is."""
    return {
        "type": "trace", "id": f"t{number:03}", "projectId": "shop", "name": f"checkout {number % 3}",
        "status": ("ok", "error")[number % 2], "startTime": at(number), "endTime": at(number - 0.5), **fields,
    }  # fmt: skip


def span(number: int, **fields: object) -> Event:
    """Return a span."""
    return {
        "type": "span", "id": f"s{number:03}", "traceId": f"t{number % 10:03}", "projectId": "shop",
        "name": f"op {number % 3}", "startTime": at(number), "endTime": at(number - 0.25), **fields,
    }  # fmt: skip


def log(number: int, **fields: object) -> Event:
    """Return a log record."""
    return {
        "type": "log", "id": f"l{number:03}", "projectId": "shop", "level": ("info", "error")[number % 2],
        "message": f"Payment {number} failed: card declined", "timestamp": at(number), **fields,
    }  # fmt: skip


def metric(number: int, **fields: object) -> Event:
    """Return a measurement."""
    return {
        "type": "metric", "id": f"m{number:03}", "projectId": "shop", "name": f"queue {number % 2}",
        "value": number / 2, "timestamp": at(number), "labels": {"region": ("eu", "us")[number % 2]}, **fields,
    }  # fmt: skip


def score(number: int, **fields: object) -> Event:
    """Return a score."""
    return {
        "type": "score", "id": f"c{number:03}", "projectId": "shop", "name": "accuracy", "value": number / 10,
        "traceId": f"t{number % 10:03}", "timestamp": at(number), **fields,
    }  # fmt: skip


def feedback(number: int, **fields: object) -> Event:
    """Return feedback."""
    return {
        "type": "feedback", "id": f"f{number:03}", "projectId": "shop", "source": "user", "feedbackType": "rating",
        "value": (number, str(number))[number % 2], "traceId": f"t{number % 10:03}", "timestamp": at(number), **fields,
    }  # fmt: skip


def prompt(number: int, **fields: object) -> Event:
    """Return a call of a model."""
    return {
        "event_type": "prompt_call", "event_id": f"e{number:03}", "project_id": "shop", "run_id": f"r{number % 3}",
        "timestamp": at(number), "model": f"model {number % 2}", "tokens_input": number, "tokens_output": 2,
        "cost_estimate_usd": 0.5, "latency_ms": number * 10, "status": ("success", "timeout")[number % 2], **fields,
    }  # fmt: skip


def step(number: int, **fields: object) -> Event:
    """Return a step of a run."""
    return {
        "event_type": "agent_step", "event_id": f"p{number:03}", "project_id": "shop", "run_id": "r0",
        "timestamp": at(number), "latency_ms": 5, "status": "success",
        "step": {"number": number, "name": f"step {number}", "type": "reasoning"}, **fields,
    }  # fmt: skip


def land(store: Database | str, spool: Path, events: Iterable[Mapping[str, Any]], *, project: str = "shop") -> None:
    """Land events in a store, or at its URL, in one run of the daemon."""
    folders: dict[str, list[str]] = {}
    for event in events:
        folders.setdefault(event.get("type") or event["event_type"], []).append(json.dumps(event))
    for name, lines in folders.items():
        place = spool / name / project
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{uuid.uuid4()}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert ingest(store if isinstance(store, str) else store.native_url, spool) == 0
    assert not (spool / "rejected").exists()


def rows(database: Database, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the newest versions of a table's rows, for comparison."""
    listed = ", ".join(f"`{column}`" for column in columns)
    return database.query(f"SELECT {listed} FROM {PREFIX}{table} FINAL ORDER BY ALL")
