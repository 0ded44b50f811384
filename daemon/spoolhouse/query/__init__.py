"""Asks for what has landed: `async with connect(url) as q: async for trace in q.traces(project="shop"): …`.

A request is a frozen value (`requests`); `plan` turns it into questions without SQL, a store's reader answers them, and
`results` makes records of the answers.
"""

from spoolhouse.errors import BadRequestError
from spoolhouse.query.client import Query
from spoolhouse.query.connect import connect, connect_sync
from spoolhouse.query.requests import (
    ALL_PROJECTS,
    Events,
    Feedback,
    Figures,
    Logs,
    Metrics,
    Scores,
    Spans,
    Traces,
    Values,
)
from spoolhouse.query.sync import SyncQuery

__all__ = [
    "ALL_PROJECTS", "BadRequestError", "Events", "Feedback", "Figures", "Logs", "Metrics", "Query", "Scores", "Spans",
    "SyncQuery", "Traces", "Values", "connect", "connect_sync",
]  # fmt: skip
