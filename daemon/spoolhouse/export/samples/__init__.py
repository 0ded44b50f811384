"""Sample events, filled from the templates in `templates.toml`."""

from spoolhouse.export.samples.events import AGENT_TYPES, PER_TRACE, WINDOW_MS, SampleEvents, Shape

__all__ = ["AGENT_TYPES", "PER_TRACE", "WINDOW_MS", "SampleEvents", "Shape"]
