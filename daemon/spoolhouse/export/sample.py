"""Sample events: traces of an agent application with all that comes with them, which fit together.

Everything follows from the seed, the time that is given, a project's name and a number: event `i` of a type is always
the same one, and whichever types are asked for, their trace and span ids meet. Nothing here knows a clock or a disk.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

import msgspec

from spoolhouse.export.agent_sample import AGENT_MAKERS, AGENT_PER_TRACE
from spoolhouse.export.sample_trace import (
    ANSWERS,
    ERRORS,
    FAILURE_RATE,
    PLAN,
    QUESTIONS,
    TOOLS,
    Fields,
    Trace,
    time_text,
)

Shape = Literal["flat", "enveloped", "mixed"]

PER_TRACE = {"trace": 1, "span": 8, "log": 4, "metric": 3, "score": 1, "feedback": 1, **AGENT_PER_TRACE}
"""How many events of each type one trace comes with; the built-in types."""

WINDOW_MS = 2 * 3_600_000
"""How far back the events of a sample reach where nothing else is said: two hours."""

_AGENTS = ("support-agent", "research-agent", "billing-agent", "onboarding-agent")
_MODELS = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("anthropic", "claude-sonnet-4"),
    ("google", "gemini-2.5-pro"),
)
_COMPLAINTS = ("Did not answer my question.", "Zu langsam.", "The link in the answer is dead.")
_SCORERS = ("answer-relevancy", "faithfulness", "toxicity", "completeness")
_ENVIRONMENTS = ("production", "production", "production", "staging")
_BOUNDARIES = (10, 50, 100, 250, 500, 1000, 2500, 5000)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleEvents:
    """An endless stock of sample events.

    `now_ms` (milliseconds since 1970) is when the newest trace has ended; `traces` of each project are spread evenly
    over the `window_ms` before it, and from there the times begin again. `shape` says whether a line is flat,
    enveloped, or (mixed) every second trace the other.
    """

    seed: int
    now_ms: int
    traces: int = 1000
    window_ms: int = WINDOW_MS
    shape: Shape = "flat"
    declared: Mapping[str, Callable[[Trace, int], Fields]] = field(default_factory=dict)
    """Makers of further types, by name: one event for each trace."""
    _encode: Callable[[object], bytes] = field(default=msgspec.json.Encoder().encode, repr=False, compare=False)

    def lines(self, event_type: str, project: str, first: int, count: int) -> Iterator[bytes]:
        """Yield `count` events of a type from number `first` on, as JSON without a line break.

        Raises KeyError for a type that is neither in `PER_TRACE` nor in `declared`.
        """
        make, per_trace = {**_MAKERS, **self.declared}[event_type], PER_TRACE.get(event_type, 1)
        number, part = divmod(first, per_trace)
        while count > 0:
            trace = self._trace(project, number)
            # All of them, also where only some are wanted: each draws from the trace's randomness in its turn.
            events = [make(trace, index) for index in range(per_trace)][part : part + count]
            for event in events:
                tag = {"event_type" if event_type in AGENT_PER_TRACE else "type": event_type}
                yield self._encode({**tag, **event} if trace.flat else {**tag, "data": event})
            count -= len(events)
            number, part = number + 1, 0

    def _trace(self, project: str, number: int) -> Trace:
        random = Random(f"{self.seed}/{project}/{number}")  # noqa: S311  # samples, not secrets
        place = (number % self.traces + random.random()) / self.traces
        lengths = [int(random.lognormvariate(4.5, 0.8)) + 1 for _ in PLAN]
        lengths[0] = sum(lengths)
        start = self.now_ms - self.window_ms + int(place * (self.window_ms - lengths[0]))
        starts = [start]
        for length in lengths[1:]:
            starts.append(starts[-1] + length // 2)
        system, model = random.choice(_MODELS)
        return Trace(
            random=random,
            flat=self.shape == "flat" or (self.shape == "mixed" and number % 2 == 0),
            id=f"{random.getrandbits(128):032x}",
            project=project,
            deployment=f"dep_{random.randrange(4):04d}",
            agent=random.choice(_AGENTS),
            system=system,
            model=model,
            failed=random.random() < FAILURE_RATE,
            spans=tuple(f"{random.getrandbits(64):016x}" for _ in PLAN),
            starts=tuple(starts),
            lengths=tuple(lengths),
            environment=random.choice(_ENVIRONMENTS),
            user=f"user_{random.randrange(5000):05d}",
        )


def _trace_event(trace: Trace, _index: int) -> Fields:
    random = trace.random
    return {
        "id" if trace.flat else "traceId": trace.id,
        "projectId": trace.project,
        "deploymentId": trace.deployment,
        "name": trace.agent,
        "status": "error" if trace.failed else "ok",
        "startTime": time_text(trace.starts[0]),
        "endTime": time_text(trace.end),
        "durationMs": trace.lengths[0],
        "input": {"messages": [{"role": "user", "content": random.choice(QUESTIONS)}]},
        "output": {"error": random.choice(ERRORS)} if trace.failed else {"text": random.choice(ANSWERS)},
        "metadata": {"environment": trace.environment, "userId": trace.user, "model": trace.model, "steps": 3},
        "recordedAt": time_text(trace.end),
    }


def _span_event(trace: Trace, index: int) -> Fields:
    random = trace.random
    name, kind, parent = PLAN[index]
    start, length = trace.starts[index], trace.lengths[index]
    failed = trace.failed and index in {0, 5}
    attributes: Fields = {"gen_ai.agent.name": trace.agent, "service.name": "agents-api"}
    if name == "llm.generate":
        attributes |= {
            "gen_ai.system": trace.system,
            "gen_ai.request.model": trace.model,
            "gen_ai.usage.input_tokens": random.randrange(200, 6000),
            "gen_ai.usage.output_tokens": random.randrange(20, 900),
            "gen_ai.request.temperature": 0.2,
        }
    elif name == "tool.call":
        attributes |= {
            "gen_ai.tool.name": random.choice(TOOLS),
            "gen_ai.tool.call.id": f"call_{random.getrandbits(64):016x}",
            "gen_ai.tool.arguments": f'{{"limit":{random.randrange(1, 50)},"customer":"{trace.user}"}}',
            "retry.count": random.randrange(3),
        }
    else:
        attributes |= {
            "thread.id": f"thread_{random.getrandbits(48):012x}",
            "user.id": trace.user,
            "deployment.environment": trace.environment,
            "db.response.returned_rows": random.randrange(40),
        }
    what = "exception" if failed else "first_token" if name == "llm.generate" else "completed"
    details: Fields = {"type": random.choice(ERRORS)} if failed else {"sequence": index, "cached": bool(index % 3)}
    return {
        "id" if trace.flat else "spanId": trace.spans[index],
        "traceId": trace.id,
        **({} if parent is None else {"parentSpanId": trace.spans[parent]}),
        "projectId": trace.project,
        "deploymentId": trace.deployment,
        "name": name,
        "kind": kind,
        "status": "error" if failed else "ok",
        "startTime": time_text(start),
        "endTime": time_text(start + length),
        "durationMs": length,
        "attributes": attributes,
        "events": [{"name": what, "time": time_text(start + length // 3), "attributes": details}],
        "recordedAt": time_text(trace.end),
    }


def _log_event(trace: Trace, index: int) -> Fields:
    random = trace.random
    level, message = (
        ("info", f"{trace.agent} started with {trace.model}"),
        ("debug", f"prompt built: {random.randrange(200, 6000)} tokens, {random.randrange(1, 12)} messages"),
        ("warn", f"tool {random.choice(TOOLS)} answered after {trace.lengths[3]} ms"),
        ("error", f"run failed: {random.choice(ERRORS)}") if trace.failed else ("info", "run finished"),
    )[index]
    place = (0, 2, 3, 7)[index]
    time = trace.starts[place]
    return {
        "id": f"log_{random.getrandbits(96):024x}",
        "projectId": trace.project,
        "deploymentId": trace.deployment,
        "traceId": trace.id,
        "spanId": trace.spans[place],
        "level": level,
        "message": message,
        # Both ways to write a time occur in the wild.
        "timestamp": time_text(time) if trace.flat else time,
        "attributes": {"agent": trace.agent, "environment": trace.environment, "attempt": index},
    }


def _metric_event(trace: Trace, index: int) -> Fields:
    random = trace.random
    name, kind, value, unit = (
        ("gen_ai.client.token.usage", "counter", random.randrange(200, 9000), "token"),
        ("agent.cost", "gauge", round(random.uniform(0.0004, 0.2), 6), "usd"),
        ("agent.step.duration", "histogram", sum(trace.lengths[1:]), "ms"),
    )[index]
    buckets: Fields = {}
    if kind == "histogram":
        counts = [0] * (len(_BOUNDARIES) + 1)
        for length in trace.lengths[1:]:
            counts[sum(length > bound for bound in _BOUNDARIES)] += 1
        buckets = {"bucketBoundaries": _BOUNDARIES, "bucketCounts": counts}
    return {
        "id": f"met_{random.getrandbits(96):024x}",
        "projectId": trace.project,
        "deploymentId": trace.deployment,
        "name": name,
        # A flat line's `type` already says what kind of event it is.
        "metricType" if trace.flat else "type": kind,
        "value": value,
        "unit": unit,
        "timestamp": time_text(trace.end) if trace.flat else trace.end,
        "labels": {"agent": trace.agent, "model": trace.model, "environment": trace.environment},
        **buckets,
    }


def _score_event(trace: Trace, _index: int) -> Fields:
    random = trace.random
    value = round(random.betavariate(2, 5) if trace.failed else random.betavariate(8, 2), 4)
    scorer = random.choice(_SCORERS)
    return {
        "id": f"sco_{random.getrandbits(96):024x}",
        "projectId": trace.project,
        "deploymentId": trace.deployment,
        "traceId": trace.id,
        "spanId": trace.spans[5],
        "name" if trace.flat else "scorerName": scorer,
        "value" if trace.flat else "score": value,
        "normalizedValue": value,
        "comment" if trace.flat else "reason": f"{scorer} of the final answer, judged by {trace.model}",
        "experiment": f"exp_{random.randrange(3)}",
        "organizationId": "org_0001",
        "userId": trace.user,
        "environment": trace.environment,
        "serviceName": "agents-api",
        "timestamp": time_text(trace.end),
        "metadata": {"scorerVersion": "1.4.0", "sampled": True},
    }


def _feedback_event(trace: Trace, _index: int) -> Fields:
    random = trace.random
    good = random.random() < (FAILURE_RATE if trace.failed else 0.8)
    kind, value = random.choice(
        (("thumbs", "up" if good else "down"), ("rating", random.randint(4, 5) if good else random.randint(1, 3)))
    )
    return {
        "id": f"fbk_{random.getrandbits(96):024x}",
        "projectId": trace.project,
        "deploymentId": trace.deployment,
        "traceId": trace.id,
        "spanId": trace.spans[0],
        "source": random.choice(("user", "user", "annotator")),
        "feedbackType": kind,
        "value": value,
        **({} if good else {"comment": random.choice(_COMPLAINTS)}),
        "experiment": f"exp_{random.randrange(3)}",
        "organizationId": "org_0001",
        "userId": trace.user,
        "environment": trace.environment,
        "serviceName": "agents-api",
        "timestamp": time_text(trace.end),
        "metadata": {"channel": random.choice(("web", "mobile", "e-mail"))},
    }


_MAKERS: dict[str, Callable[[Trace, int], Fields]] = {
    "trace": _trace_event,
    "span": _span_event,
    "log": _log_event,
    "metric": _metric_event,
    "score": _score_event,
    "feedback": _feedback_event,
    **AGENT_MAKERS,
}
