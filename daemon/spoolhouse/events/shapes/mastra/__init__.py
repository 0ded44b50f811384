"""Mastra's observability bus: the events that its exporters receive, each as `JSON.stringify` writes it.

A line has a `type` and one payload. A span is written when it starts, when it is updated and when it ends; a root span
is a trace, too. Fields without a column, and the sources of derived columns, are kept in `extra` as they are.
"""

from spoolhouse.events.shapes.mastra.lines import MASTRA

__all__ = ("MASTRA",)
