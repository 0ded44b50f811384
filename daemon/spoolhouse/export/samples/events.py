"""Sample events: the traces of an agent application, with spans, logs, metrics, scores, feedback and agent runs.

All values follow from the seed, the given time, a project's name and a number: event `i` of a type is always the same
one, and the ids of all types fit together, whichever types are asked for. No clock and no disk is used here.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from random import Random
from typing import Literal

import msgspec
from msgspec import Struct, field

from spoolhouse.export.samples.template import FILE, Fill, Scope, Table, compiled, merged

Shape = Literal["flat", "enveloped", "mixed"]

PER_TRACE: Mapping[str, int] = {name: len(declared["events"]) for name, declared in FILE["types"].items()}
"""How many events of each built-in type one trace comes with."""
AGENT_TYPES = frozenset(name for name, declared in FILE["types"].items() if "run" in declared["events"][0]["use"])
"""The types that are named in `event_type`, not in `type`."""

WINDOW_MS = 2 * 3_600_000
"""How far back the events of a sample reach by default: two hours."""

_FAILURE_RATE = 0.06
_LISTS, _SPANS = FILE["lists"], FILE["spans"]
_encode = msgspec.json.Encoder().encode


class EventTemplate(Struct, frozen=True, kw_only=True):
    """A template of one event: where it stands in its trace, and how each variant of it is filled."""

    at: int
    variants: Mapping[tuple[bool, bool], tuple["Choice", ...]]
    """By whether the trace has failed and whether its lines are flat; one of the choices is picked."""

    def fill(self, trace: "_Trace", number: int, kind: str) -> Table:
        """Return the event's fields."""
        choices = self.variants[trace.failed, trace.flat]
        choice = choices[0] if len(choices) == 1 else trace.random.choice(choices)
        values = {**trace.values, **trace.spans[self.at], "number": number, "type": kind}
        fields: Table = choice.fill(Scope(trace.random, values, choice.let))
        return fields


class Choice(Struct, frozen=True, kw_only=True):
    """A compiled template."""

    fill: Fill
    let: Mapping[str, Fill]


class _Trace(Struct, frozen=True, kw_only=True):
    """All events of a trace agree on these values."""

    random: Random
    flat: bool
    failed: bool
    values: Table
    spans: tuple[Table, ...]


class SampleEvents(Struct, frozen=True, kw_only=True):
    """An endless series of sample events.

    `now_ms` (milliseconds since 1970) is when the newest trace has ended; `traces` of each project are spread evenly
    over the `window_ms` before it, and the following traces begin there again. `shape` says whether a line is flat,
    enveloped, or (mixed) every second trace the other.
    """

    seed: int
    now_ms: int
    traces: int = 1000
    window_ms: int = WINDOW_MS
    shape: Shape = "flat"
    declared: Mapping[str, EventTemplate] = field(default_factory=dict)
    """Templates of further types, by name: one event for each trace."""

    def lines(self, event_type: str, project: str, first: int, count: int) -> Iterator[bytes]:
        """Yield `count` events of a type from number `first` on, as JSON without a line break.

        Raises KeyError for a type that is neither in `PER_TRACE` nor in `declared`.
        """
        templates = (self.declared[event_type],) if event_type in self.declared else _templates(event_type)
        tag = {"event_type" if event_type in AGENT_TYPES else "type": event_type}
        number, part = divmod(first, len(templates))
        while count > 0:
            trace = self._trace(project, number)
            # All of them, also where only some are wanted: each draws from the trace's randomness in its turn.
            events = [template.fill(trace, index, event_type) for index, template in enumerate(templates)]
            for event in events[part : part + count]:
                yield _encode({**tag, **event} if trace.flat else {**tag, "data": event})
            count -= len(events[part : part + count])
            number, part = number + 1, 0

    def _trace(self, project: str, number: int) -> _Trace:
        random = Random(f"{self.seed}/{project}/{number}")  # noqa: S311  # samples, not secrets
        place = (number % self.traces + random.random()) / self.traces
        lengths = [int(random.lognormvariate(4.5, 0.8)) + 1 for _ in _SPANS]
        lengths[0] = sum(lengths)
        starts = [self.now_ms - self.window_ms + int(place * (self.window_ms - lengths[0]))]
        for length in lengths[1:]:
            starts.append(starts[-1] + length // 2)
        system, model = random.choice(_LISTS["models"])
        counts = [0] * (len(_LISTS["boundaries"]) + 1)
        for length in lengths[1:]:
            counts[sum(length > bound for bound in _LISTS["boundaries"])] += 1
        values = {
            "trace": f"{random.getrandbits(128):032x}",
            "project": project,
            "deployment": f"dep_{random.randrange(4):04d}",
            "agent": random.choice(_LISTS["agents"]),
            "system": system,
            "model": model,
            "environment": random.choice(_LISTS["environments"]),
            "user": f"user_{random.randrange(5000):05d}",
            "trace_end": starts[0] + lengths[0],
            "all_lengths": sum(lengths[1:]),
            "boundaries": _LISTS["boundaries"],
            "bucket_counts": counts,
            "nothing": None,
        }
        ids = [f"{random.getrandbits(64):016x}" for _ in _SPANS]
        spans = tuple(
            {
                "name": span["name"],
                "kind": span["kind"],
                "span": own,
                "parent": ids[span["parent"]] if "parent" in span else None,
                "start": start,
                "end": start + length,
                "third": start + length // 3,
                "length": length,
            }
            for span, own, start, length in zip(_SPANS, ids, starts, lengths, strict=True)
        )
        flat = self.shape == "flat" or (self.shape == "mixed" and number % 2 == 0)
        return _Trace(random=random, flat=flat, failed=random.random() < _FAILURE_RATE, values=values, spans=spans)


@cache
def _templates(event_type: str) -> tuple[EventTemplate, ...]:
    return tuple(
        EventTemplate(
            at=event["at"],
            variants={
                (failed, flat): _choices(event, "failed" if failed else "ok", "flat" if flat else "enveloped")
                for failed, flat in product((False, True), repeat=2)
            },
        )
        for event in FILE["types"][event_type]["events"]
    )


def _choices(event: Table, outcome: str, shape: str) -> tuple[Choice, ...]:
    """Return the templates of one variant of an event: one, or as many as there are to pick from."""
    parts = [*(FILE["templates"][name] for name in event["use"]), event]
    own = event.get(outcome, {})
    result = []
    for one in own if isinstance(own, list) else [own]:
        outcomes = [*(part.get(outcome, {}) for part in parts[:-1]), one]
        layers = [*(part.get("fields", {}) for part in parts), *outcomes, *(part.get(shape, {}) for part in parts)]
        template = merged(*layers)
        let = {name: compiled(value) for name, value in template.pop("let", {}).items()}
        result.append(Choice(fill=compiled(template), let=let))
    return tuple(result)
