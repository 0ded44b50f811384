"""Checks events against the declarations of event types, as the daemon would read them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from spoolhouse.clock import now_ms
from spoolhouse.decode.explain import Explainer, Explanation
from spoolhouse.decode.origin import Origin
from spoolhouse.errors import BadSettingError
from spoolhouse.events import registry
from spoolhouse.events.declaration import EventType

_MOST_EXPLAINERS = 64
"""Each is for one type and project, and takes 40 ms to make."""


class _Chosen(Struct, frozen=True):
    folder: Path | None
    traces_from_root_spans: bool = False


class Validator:
    """Checks lines of our own shape; foreign ones (OTLP, Mastra, JSON logs) have no declared fields."""

    def __init__(self, declarations: Path | None) -> None:
        """Take the built-in event types, and those of the TOML files in a folder. Raises ValueError."""
        try:
            self._events: Mapping[str, EventType] = registry.load(_Chosen(declarations))
        except BadSettingError as error:
            raise ValueError(str(error)) from error
        self._explainers: dict[tuple[str, str], Explainer] = {}

    def check(self, event_type: str, project: str, line: bytes) -> None:
        """Raise ValueError, with the field and the nearest one, for a line that is rejected or has unknown fields."""
        if event_type not in self._events:
            raise ValueError(f"no event type {event_type!r}; the types are {', '.join(self._events)}")
        explanation = self._explainer(event_type, project).explain(line, 1, 0)
        faults = [f"{event_type}: the line is blank"] if explanation is None else list(_faults(event_type, explanation))
        if faults:
            raise ValueError("; ".join(faults))

    def _explainer(self, event_type: str, project: str) -> Explainer:
        key = event_type, project
        if key not in self._explainers:
            if len(self._explainers) >= _MOST_EXPLAINERS:
                self._explainers.clear()
            origin = Origin(type=event_type, project=project, policy="reject", clock_ms=now_ms())
            self._explainers[key] = Explainer(self._events, (), origin)
        return self._explainers[key]


def _faults(event_type: str, explanation: Explanation) -> Iterator[str]:
    for name in explanation.unknown:
        near = explanation.meant.get(name)
        yield f"{event_type}: unknown field {name!r}" + (f", did you mean {near!r}?" if near else "")
    if rejected := explanation.rejected:
        yield f"{event_type}: {rejected.reason}: " + ", ".join(
            filter(None, (rejected.field, rejected.detail, *rejected.hints))
        )
