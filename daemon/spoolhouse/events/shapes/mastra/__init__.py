"""Mastra's observability bus: the events that its exporters receive, each as `JSON.stringify` writes it.

A line has a `type` and one payload. A span is written when it starts, when it is updated and when it ends; a root span
is a trace, too. Fields without a column, and what columns are derived from, are kept in `extra` as they are.
"""

from spoolhouse.events.shapes.mastra.lines import MASTRA

__all__ = ("MASTRA",)
