"""A week of a shop's assistant, to look at: what the page shows is compared with these events.

The events are the same in each run, but for their times: they end now.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Event = dict[str, Any]
PROJECT = "shop"
LARGE = "warehouse"
DAY = timedelta(days=1)
SLOW = "plan a week in Lisbon"
SLOW_SPAN = "search flights"
TOOL_ERROR = "card_declined: the issuer refused 49.90 EUR"
COMPLAINT = "I was charged twice, and the invoice has the wrong currency"
HOSTILE = "<img src=x onerror=alert(1)>"
MODELS = {"gpt-5-mini": 0.0021, "claude-sonnet-5": 0.0174, "mistral-small-4": 0.0006}
NAMES = ("answer a question", "find a product", "track an order", "refund an order", "summarize reviews")
TOOLS = ("search_catalog", "read_order", "quote_shipping")


def moment(now: datetime, **before: float) -> datetime:
    """Return a time before now, in whole milliseconds."""
    found = now - timedelta(**before)
    return found.replace(microsecond=found.microsecond // 1000 * 1000)


def text(time: datetime) -> str:
    """Return a time as producers write it."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def later(time: datetime, ms: float) -> datetime:
    """Return a time so much later."""
    return time + timedelta(milliseconds=ms)


def asked(said: str) -> Event:
    """Return what goes into a model."""
    return {"messages": [{"role": "user", "content": said}]}


class Sample:
    """All events, and what the tests ask about them."""

    def __init__(self, now: datetime | None = None, *, traces: int = 260) -> None:
        """Make the events of the week that ends now."""
        self.now = moment(now or datetime.now(UTC))
        self._random = random.Random(15)
        self._ids = 0
        self.events: list[Event] = []
        for number in range(traces):
            # More of them lately, and some in each hour.
            age = 7 * DAY * (number / traces) ** 2 + timedelta(minutes=2)
            self._usual(number, self.now - age)
        self._slow(moment(self.now, minutes=21))
        self._failed(moment(self.now, hours=26))
        self._complaint(moment(self.now, hours=50))
        for day in range(7):
            self._runs(day)
        self._hostile(moment(self.now, days=3))
        for number in range(168):
            self._measure(number)

    def of(self, kind: str) -> Iterator[Event]:
        """Yield the events of a type."""
        return (one for one in self.events if (one.get("type") or one.get("event_type")) == kind)

    def _id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}{self._ids:05}{self._random.getrandbits(40):010x}"

    def _span(self, at: "At", name: str, ms: float, what: str, **more: Any) -> str:
        own = self._id("s")
        event = {
            "type": "span", "id": own, "traceId": at.trace, "parentSpanId": at.parent, "projectId": PROJECT,
            "name": name, "kind": "internal", "spanType": what, "status": "ok", "startTime": text(at.start),
            "endTime": text(later(at.start, ms)), "durationMs": ms, **more,
        }  # fmt: skip
        self.events.append({key: value for key, value in event.items() if value is not None})
        return own

    def _trace(self, name: str, start: datetime, ms: float, said: str, **more: Any) -> "At":
        own = self._id("t")
        event = {
            "type": "trace", "id": own, "projectId": PROJECT, "name": name, "status": "ok", "startTime": text(start),
            "endTime": text(later(start, ms)), "durationMs": ms, "input": asked(said), **more,
        }  # fmt: skip
        self.events.append(event)
        return At(own, None, start)

    def _log(self, at: "At", level: str, message: str, **attributes: Any) -> None:
        event = {
            "type": "log", "id": self._id("l"), "projectId": PROJECT, "traceId": at.trace, "spanId": at.parent,
            "level": level, "message": message, "timestamp": text(at.start), "attributes": attributes,
        }  # fmt: skip
        self.events.append({key: value for key, value in event.items() if value is not None})

    def _judge(self, kind: str, at: "At", **more: Any) -> None:
        about = {"traceId": at.trace, "spanId": at.parent, "timestamp": text(at.start)}
        self.events.append({"type": kind, "id": self._id(kind), "projectId": PROJECT, **about, **more})

    def _model(self, at: "At", ms: float, said: str) -> None:
        model = self._random.choice([*MODELS])
        tokens = self._random.randrange(300, 2400)
        self._span(
            at,
            f"chat {model}",
            ms,
            "llm_generation",
            model=model,
            provider="gateway",
            inputTokens=tokens,
            outputTokens=tokens // 4,
            costUsd=round(tokens * MODELS[model] / 1000, 6),
            attributes={"input": asked(said), "output": "Let me look that up for you.", "temperature": 0.2},
        )

    def _usual(self, number: int, start: datetime) -> None:
        name, tool = NAMES[number % len(NAMES)], TOOLS[number % len(TOOLS)]
        ms = round(self._random.lognormvariate(6.6, 0.7), 0) + 80
        said = f"Where is my order {4000 + number}?"
        failed = number % 17 == 5  # some
        status = "error" if failed else "ok"
        metadata = {"channel": ("web", "app")[number % 2], "region": "eu-west"}
        trace = self._trace(name, start, ms, said, status=status, output="It arrives tomorrow.", metadata=metadata)
        root = trace.below(self._span(trace, name, ms, "agent_run", status=status))
        self._model(root.later(ms * 0.03), ms * 0.45, said)
        at = root.later(ms * 0.47)
        outcome = {"error": {"message": "timed out after 3 s", "name": "TimeoutError"}} if failed else {"output": True}
        attributes = {"input": {"order": 4000 + number}, **outcome}
        call = at.below(self._span(at, tool, ms * 0.3, "tool_call", status=status, attributes=attributes))
        code = 504 if failed else 200
        self._span(call, f"GET /v2/{tool}", ms * 0.25, "", kind="client", attributes={"http.status_code": code})
        self._model(root.later(ms * 0.78), ms * 0.18, "Now answer.")
        self._log(root, "info", f"question about order {4000 + number}", order=4000 + number)
        if failed:
            self._log(call.later(ms * 0.3), "error", f"{tool} timed out", attempt=3)
        elif number % 6 == 0:
            self._log(call, "warn", f"{tool} is slow today", queue=number)
        if number % 4 == 0:
            score, value = ("helpfulness", "groundedness")[number % 8 == 0], round(self._random.betavariate(6, 2), 2)
            experiment = ("baseline", "new prompt")[number % 3 == 0]
            self._judge("score", root.later(5_000), name=score, value=value, experiment=experiment)
        if number % 13 == 0:
            value, user = self._random.choice([1, 1, 1, 0]), f"u{number}"
            self._judge("feedback", root.later(30_000), source="user", feedbackType="thumbs", value=value, userId=user)

    def _slow(self, start: datetime) -> None:
        said = "Plan a week in Lisbon for two, with trains."
        trace = self._trace(SLOW, start, 48_200, said, output="A plan.")
        self.slow = trace.trace
        root = trace.below(self._span(trace, SLOW, 48_200, "agent_run"))
        self._model(root.later(200), 2_300, said)
        step = root.later(2_600).below(self._span(root.later(2_600), "gather offers", 43_000, "workflow_step"))
        found = {"input": {"from": "BER", "to": "LIS"}, "output": {"offers": 212}, "retries": 6}
        self._span(step.later(100), SLOW_SPAN, 42_800, "tool_call", attributes=found)
        self._span(step.later(200), "search hotels", 6_100, "tool_call", attributes={"output": {"hotels": 31}})
        self._span(step.later(200), "search trains", 900, "tool_call", attributes={"output": {"trains": 4}})
        self._model(root.later(45_700), 2_400, "Write the plan.")
        for retry in range(1, 7):
            self._log(trace.later(2_700 + retry * 6_500), "warn", f"flights: no answer, retry {retry}", retry=retry)

    def _failed(self, start: datetime) -> None:
        said = "Please pay order 7741 with my card."
        trace = self._trace("pay an order", start, 3_150, said, status="error")
        self.failed = trace.trace
        root = trace.below(self._span(trace, "pay an order", 3_150, "agent_run", status="error"))
        self._model(root.later(20), 900, said)
        error = {
            "exception.type": "PaymentError", "exception.message": TOOL_ERROR,
            "exception.stacktrace": "PaymentError: card_declined\n  at charge (pay.ts:88)\n  at run (tools.ts:31)",
        }  # fmt: skip
        at = root.later(1_000)
        call = self._span(
            at,
            "charge_card",
            2_000,
            "tool_call",
            status="error",
            attributes={"input": {"order": 7741, "amount": 49.9, "currency": "EUR"}, "attempt": 3},
            events=[{"name": "exception", "timestamp": text(later(at.start, 1_990)), "attributes": error}],
        )
        self.failed_logs = ["charging 49.90 EUR", "the issuer answered 402, trying again", "giving up after 3 attempts"]
        for number, (level, message) in enumerate(zip(("info", "warn", "error"), self.failed_logs, strict=True)):
            self._log(at.below(call).later(10 + number * 900), level, message, attempt=number + 1)

    def _complaint(self, start: datetime) -> None:
        said = "Why is my invoice in dollars?"
        trace = self._trace("explain an invoice", start, 1_900, said, output="Your invoice is right.")
        self.complaint = trace.trace
        root = trace.below(self._span(trace, "explain an invoice", 1_900, "agent_run"))
        self._model(root.later(50), 1_700, said)
        told = {"feedbackType": "comment", "value": "bad", "comment": COMPLAINT, "userId": "u-7741"}
        self._judge("feedback", root.later(120_000), source="user", **told)

    def _hostile(self, start: datetime) -> None:
        """Add what somebody wrote to run a script in the page."""
        trace = self._trace(HOSTILE, start, 300, HOSTILE, metadata={HOSTILE: HOSTILE})
        self.hostile = trace.trace
        span = self._span(trace, HOSTILE, 300, "", attributes={HOSTILE: [HOSTILE], "input": HOSTILE})
        self._log(trace.below(span), "info", HOSTILE)

    def _measure(self, number: int) -> None:
        for region, base in (("eu", 40), ("us", 25)):
            event = {
                "type": "metric", "id": self._id("m"), "projectId": PROJECT, "name": "queue depth",
                "value": base + (number * 7) % 24, "labels": {"region": region},
                "timestamp": text(moment(self.now, hours=number, minutes=9)),
            }  # fmt: skip
            self.events.append(event)

    def _runs(self, day: int) -> None:
        for number in range(4):
            run, start = f"run-{7 - day}-{number}", moment(self.now, days=day, minutes=40 + number * 95)
            common = {"project_id": PROJECT, "run_id": run}
            for call, model in enumerate(MODELS):
                tokens = 800 + 137 * ((day * 5 + number * 3 + call) % 11)
                self.events.append({
                    "event_type": "prompt_call", "event_id": self._id("e"), **common, "model": model,
                    "timestamp": text(later(start, call * 3_000)), "tokens_input": tokens, "tokens_output": tokens // 5,
                    "cost_estimate_usd": round(tokens * MODELS[model] / 1000, 6), "latency_ms": 700 + tokens // 3,
                    "status": "timeout" if (number, call) == (2, 1) else "success",
                    "prompt": f"Step {call + 1} of restocking", "response": "Done.",
                })  # fmt: skip
            for place, name in enumerate(("read stock", "choose suppliers", "write orders"), 1):
                tool = {"tool_name": "sql", "input": {"q": "select stock"}, "output": {"rows": 12}, "latency_ms": 40}
                step = {"number": place, "name": name, "type": "tool_call", "output_data": {"rows": 40 * place}}
                self.events.append({
                    "event_type": "agent_step", "event_id": self._id("e"), **common, "latency_ms": 900 * place,
                    "timestamp": text(later(start, place * 4_000)), "status": "success", "step": step,
                    "tool_calls": [{**tool, "tool_id": f"{run}-{place}", "status": "success"}],
                })  # fmt: skip


class At(NamedTuple):
    """A place in a trace: below a span, from a time on."""

    trace: str
    parent: str | None
    start: datetime

    def below(self, span: str) -> "At":
        """Return the place below a span."""
        return self._replace(parent=span)

    def later(self, ms: float) -> "At":
        """Return the place some time later."""
        return self._replace(start=later(self.start, ms))


def large() -> list[Event]:
    """Return the spans of a trace that has 10 000 of them, a hundred below each of a hundred."""
    start = datetime.now(UTC) - timedelta(hours=1)
    return [
        {
            "type": "span", "id": f"l{number}", "traceId": "large", "projectId": LARGE, "name": f"span {number}",
            "startTime": text(later(start, number * 10)), "endTime": text(later(start, number * 10 + 8)),
            **({} if number % 100 == 0 else {"parentSpanId": f"l{number // 100 * 100}"}),
        }
        for number in range(10_000)
    ]  # fmt: skip


def folders(events: Sequence[Event]) -> Iterator[tuple[str, list[Event]]]:
    """Yield the events of each type, as the spool has folders for them."""
    kinds = dict.fromkeys(str(one.get("type") or one["event_type"]) for one in events)
    for kind in kinds:
        yield kind, [one for one in events if (one.get("type") or one["event_type"]) == kind]
