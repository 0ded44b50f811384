"""What a line costs to decode, by how it is written: microseconds, and the ratio to clean lines of the same types.

All cases are measured in one run, their rounds interleaved; the fastest round of each counts. No server is needed.
"""

import gc
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spoolhouse.decode.line_decoder import LineDecoder, Origin, ProjectPolicy
from spoolhouse.decode.line_splitter import Piece
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.export.samples import SampleEvents
from spoolhouse.service.runtime_tuning import tune_malloc
from tests.benchmarks import otlp

PIECE_BYTES = 1 << 20
MOST_LINES = 1 << 14
ROUNDS = 15
LEGAL, UNKNOWN, BAD = 2.5, 3.0, 4.0
"""How many times a clean line a legal line may cost at most, one with unknown fields, one that is rejected."""
NOW_MS = 1_795_262_400_000
SAMPLES = Path(__file__).parents[1] / "producers" / "samples"
_LONG = 2048
"""Bytes of a line that is not compared with clean ones of a third of that."""

Event = dict[str, Any]
Change = Callable[[Event], Event]


@dataclass(slots=True, kw_only=True)
class Case:
    """Lines that are measured."""

    name: str
    data: bytes
    clean: str = "clean flat span"
    """The case that this one is compared with."""
    most: float = 0.0
    """The ratio that is wanted; 0: none."""
    type: str = "span"
    policy: ProjectPolicy = "warn"
    per_row: bool = False
    """Whether it is measured by rows: its lines have many."""
    lines: int = 0
    rejected: int = 0
    seconds: list[float] = field(default_factory=list)

    @property
    def cost(self) -> float:
        """Microseconds a line."""
        return min(self.seconds) / self.lines * 1e6


def events(kind: str, count: int) -> list[Event]:
    """Return clean sample events of a type."""
    sample = SampleEvents(seed=5, now_ms=NOW_MS, traces=count)
    return [json.loads(line) for line in sample.lines(kind, "p", 0, count)]


def dumped(some: Iterable[Event]) -> bytes:
    """Return events as lines, a piece of them."""
    lines: list[bytes] = []
    size = 0
    for event in some:
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        size += len(line)
        if size > PIECE_BYTES or len(lines) == MOST_LINES:
            break
        lines.append(line)
    return b"".join(lines)


def is_model_call(event: Event) -> bool:
    """Tell whether a span names a model."""
    return "model" in json.dumps(event.get("attributes"))


def enveloped(event: Event) -> Event:
    """Put the fields below `data`."""
    tag = "type" if "type" in event else "event_type"
    return {tag: event[tag], "data": {key: value for key, value in event.items() if key != tag}}


def renamed(names: dict[str, str]) -> Change:
    """Return a change of keys."""
    return lambda event: {names.get(key, key): value for key, value in event.items()}


def timed(write: Callable[[datetime], object]) -> Change:
    """Return a change of all times."""

    def change(event: Event) -> Event:
        return {
            key: write(datetime.fromisoformat(value)) if key in _TIMES and isinstance(value, str) else value
            for key, value in event.items()
        }

    return change


_TIMES = {"startTime", "endTime", "timestamp", "recordedAt", "recorded_at"}
_SNAKE = {
    "traceId": "trace_id", "parentSpanId": "parent_span_id", "projectId": "project_id", "startTime": "start_time",
    "deploymentId": "deployment_id", "endTime": "end_time", "durationMs": "duration_ms", "recordedAt": "recorded_at",
}  # fmt: skip


def without(*keys: str) -> Change:
    """Return a change that takes keys away."""
    return lambda event: {key: value for key, value in event.items() if key not in keys}


def plus(**more: object) -> Change:
    """Return a change that adds or replaces fields."""
    return lambda event: event | more


def now_and_then(change: Change, share: float) -> Change:
    """Return a change of a share of the events, by chance."""
    chance = random.Random(7)  # for a benchmark
    return lambda event: change(event) if chance.random() < share else event


def deep(levels: int) -> object:
    """Return nested objects."""
    return {"a": deep(levels - 1)} if levels else 1


def span_cases(spans: list[Event]) -> Iterator[Case]:
    """Yield the cases of spans that are no model calls."""

    def of(name: str, change: Change, most: float = LEGAL, **more: Any) -> Case:
        return Case(name=name, data=dumped(map(change, spans)), most=most, **more)

    yield of("clean flat span", plus(), 0)
    yield of("enveloped", enveloped)
    yield of("flat or enveloped at random", now_and_then(enveloped, 0.5))
    yield of("epoch times in ms", timed(lambda time: int(time.timestamp() * 1000)))
    yield of("epoch times in s with a fraction", timed(lambda time: time.timestamp()))
    yield of("digits as text", timed(lambda time: str(int(time.timestamp() * 1000))))
    yield of("times with an offset", timed(lambda time: time.isoformat().replace("+00:00", "+05:30")))
    yield of("times without an offset", timed(lambda time: time.replace(tzinfo=None).isoformat()))
    yield of("snake_case keys", renamed(_SNAKE))
    yield of("spanId for id", renamed({"id": "spanId"}))
    yield of("no type, no project", without("type", "projectId"))
    yield of("type at the end", lambda event: without("type")(event) | {"type": "span"})
    yield of("type is the span's own", plus(type="agent_run"))
    yield of("durationMs 12.0", plus(durationMs=12.0))
    yield of("durationMs 12.5", plus(durationMs=12.5))
    yield of("durationMs as text", plus(durationMs="12"))
    yield of("ids as numbers", plus(id=12, traceId=13))
    yield of("no duration", without("durationMs"))
    yield of("choices in upper case", lambda event: event | {"kind": "SERVER", "status": "OK"})
    yield of("choices by other names", plus(kind="SPAN_KIND_SERVER", status="STATUS_CODE_OK"))
    yield of("choices by near names", plus(status="completed"), UNKNOWN)
    yield of("one unknown field", plus(color="red"), UNKNOWN)
    yield of("five unknown fields", plus(color="red", size=3, shape=None, tags=["a"], more={"a": 1}), UNKNOWN)
    yield of("one unknown field now and then", now_and_then(plus(color="red"), 0.3), UNKNOWN)
    yield of("project = reject, another project", plus(projectId="q"), policy="reject")
    yield of("project = reject, now and then another", now_and_then(plus(projectId="q"), 0.1), policy="reject")
    for share in (0.01, 0.05, 1.0):
        yield of(f"{share:.0%} bad: fraction for a count", now_and_then(plus(inputTokens=1.5), share), BAD)
    yield of("all bad: unknown kind", plus(kind="boss"), BAD)
    yield of("all bad: no trace id", without("traceId"), BAD)
    yield of("all bad: no such type", plus(type="spam"), BAD, type="")
    yield Case(name="x on each line", data=b"x\n" * MOST_LINES, most=BAD)
    cut = b"".join(line[: len(line) // 2] + b"\n" for line in dumped(spans).splitlines())
    yield Case(name="all bad: cut in the middle", data=cut, most=BAD)


def heavy_cases(spans: list[Event]) -> Iterator[Case]:
    """Yield the cases whose lines are long: each beside its own clean lines."""
    contents: dict[str, object] = {
        "escapes": 'a "quoted" line\nand another\t\\ ' * 20,
        "a long string": "lorem ipsum " * 500,
        "a wide object": {f"key{number}": number for number in range(200)},
        "a deep object": deep(100),
    }
    for name, content in contents.items():
        data = dumped(map(plus(attributes={"content": content}), spans))
        other = dumped(map(plus(attributes={"content": content}, durationMs="1"), spans))
        yield Case(name=f"clean, {name}", data=data)
        yield Case(name=f"{name}, number as text", data=other, clean=f"clean, {name}", most=LEGAL)


def mastra_cases() -> Iterator[Case]:
    """Yield what real packages of Mastra printed: a root span is two rows."""
    lines = [line for path in sorted(SAMPLES.glob("mastra_*.jsonl")) for line in path.read_bytes().splitlines()]
    some = [json.loads(line) for line in lines if len(line) < _LONG]
    spans = [event for event in some if "exportedSpan" in event]

    def colored(event: Event) -> Event:
        return {key: value | {"color": "red"} if isinstance(value, dict) else value for key, value in event.items()}

    yield Case(name="Mastra, by row", data=dumped(some * 20), most=LEGAL, per_row=True)
    yield Case(name="Mastra's spans, by row", data=dumped(spans * 20), most=LEGAL, per_row=True)
    yield Case(
        name="Mastra, one unknown field, by row", data=dumped(map(colored, some * 20)), most=UNKNOWN, per_row=True
    )
    spaced = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in some * 20)
    yield Case(name="Mastra, with spaces, by row", data=spaced, most=LEGAL, per_row=True)
    own = [event for event in events("span", 2 * len(spans)) if not is_model_call(event)]
    both = [event for pair in zip(spans, own, strict=False) for event in pair]
    yield Case(name="Mastra's spans and ours in turn, by row", data=dumped(both * 10), most=LEGAL, per_row=True)


def type_cases() -> Iterator[Case]:
    """Yield clean lines of each type, and all types mixed."""
    by_type = {kind: events(kind, 400) for kind in BUILT_IN}
    for kind, some in by_type.items():
        clean = f"clean {kind}"
        yield Case(name=clean, data=dumped(some), type=kind)
        yield Case(name=f"{kind}, enveloped", data=dumped(map(enveloped, some)), type=kind, clean=clean, most=LEGAL)
        nameless = without("id", "projectId", "project_id", "type", "event_type", "event_id")
        if kind not in {"trace", "span"}:
            lines = dumped(map(nameless, some))
            yield Case(name=f"{kind}, no id", data=lines, type=kind, clean=clean, most=LEGAL)
        lines = dumped(map(plus(color="red"), some))
        yield Case(name=f"{kind}, one unknown field", data=lines, type=kind, clean=clean, most=UNKNOWN)
    mixed = [event for group in zip(*by_type.values(), strict=True) for event in group]
    yield Case(name="14 types, each in a run", data=dumped(sorted(mixed, key=_tag)), type="span")
    yield Case(name="14 types mixed", data=dumped(mixed), clean="14 types, each in a run", most=LEGAL)
    some = by_type["span"][:200] + by_type["prompt_call"][:200]
    yield Case(name="span and prompt_call, in runs", data=dumped(some))
    data = dumped([event for group in zip(some[:200], some[200:], strict=True) for event in group])
    yield Case(name="span and prompt_call in turn", data=data, clean="span and prompt_call, in runs", most=LEGAL)


def otlp_cases(spans: list[Event]) -> Iterator[Case]:
    """Yield spans, logs and metrics as OTLP/JSON, in batches of a hundred: by row. Small batches are shown, too."""
    for kind, clean in (("span", "clean flat span"), ("log", "clean log"), ("metric", "clean metric")):
        some = spans if kind == "span" else events(kind, 1500)
        for more, most in (({}, LEGAL), ({"color": "red"}, UNKNOWN)):
            name = f"OTLP, {kind}{', one unknown field' if more else ''}"
            data = b"".join(otlp.documents(kind, some[:1500], more))
            yield Case(name=name, data=data, type=kind, clean=clean, most=most, per_row=True)
        for batch, records in ((10, "ten records"), (1, "one record")):
            data = b"".join(otlp.documents(kind, some[:1500], batch=batch))
            yield Case(name=f"OTLP, {kind}, {records} a document", data=data, type=kind, clean=clean, per_row=True)


def log_cases() -> Iterator[Case]:
    """Yield logs as other libraries write them, each beside clean logs of ours."""
    logs = events("log", 4000)
    ecs = renamed({"timestamp": "@timestamp", "level": "log.level", "traceId": "trace.id", "spanId": "span.id"})
    bare = without("type", "projectId", "deploymentId", "attributes")
    ways: dict[str, Change] = {
        "pino": lambda event: {
            "level": 30, "time": NOW_MS, "pid": 4, "hostname": "h", "traceId": event.get("traceId"),
            "req": event["attributes"], "msg": event["message"],
        },
        "structlog": lambda event: {
            **event["attributes"], "event": event["message"], "level": event["level"], "timestamp": event["timestamp"],
        },
        "zap": lambda event: {"level": "info", "ts": NOW_MS / 1000, "caller": "a.go:3", "msg": event["message"]},
        "ECS": lambda event: ecs(bare(event)) | {"log": {"logger": "a", "origin": event["attributes"]}},
        "zap with a type of its own": lambda event: {
            "level": "info", "ts": NOW_MS / 1000, "type": "access", "msg": event["message"],
        },
        "loguru": lambda event: {"text": event["message"] + "\n", "record": loguru(event)},
        "Google Cloud's agent": lambda event: {
            "severity": "INFO", "message": event["message"],
            "timestamp": {"seconds": NOW_MS // 1000, "nanos": 589793238},
            "logging.googleapis.com/trace": "projects/p/traces/1f", "httpRequest": event["attributes"],
        },
        "Google Cloud, exported": lambda event: {
            "severity": "INFO", "jsonPayload": {"message": event["message"], **event["attributes"]}, "insertId": "1a2b",
            "timestamp": event["timestamp"], "trace": "projects/p/traces/1f", "spanId": "b7ad6b7169203331",
        },
        "without a time": lambda event: {"level": "info", "caller": "a.go:3", "msg": event["message"]},
    }  # fmt: skip
    for name, way in ways.items():
        most = BAD if name == "without a time" else UNKNOWN
        yield Case(name=f"log, {name}", data=dumped(map(way, logs)), type="log", clean="clean log", most=most)
    data = dumped(way(event) for event, way in zip(logs, list(ways.values())[:4] * 1000, strict=True))
    yield Case(name="log, four libraries in turn", data=data, type="log", clean="clean log", most=UNKNOWN)


def loguru(event: Event) -> Event:
    """Return loguru's record of a log."""
    return {
        "elapsed": {"repr": "0:00:00.012000", "seconds": 0.012}, "exception": None, "extra": event["attributes"],
        "file": {"name": "a.py", "path": "/srv/a.py"}, "function": "pay",
        "level": {"icon": "i", "name": "INFO", "no": 20}, "line": 19, "message": event["message"], "module": "a",
        "name": "__main__", "process": {"id": 4, "name": "Main"}, "thread": {"id": 14, "name": "Main"},
        "time": {"repr": event["timestamp"], "timestamp": NOW_MS / 1000 + 0.589793},
    }  # fmt: skip


def _tag(event: Event) -> str:
    return str(event.get("type") or event.get("event_type"))


def run() -> None:
    """Measure all cases, and print the table."""
    spans = [event for event in events("span", 3000) if not is_model_call(event)]
    calls = [event for event in events("span", 3000) if is_model_call(event)]
    shapes = [*otlp_cases(spans), *log_cases(), *mastra_cases()]
    cases = [*span_cases(spans), *heavy_cases(spans), *type_cases(), *shapes]
    cases.append(Case(name="spans of model calls", data=dumped(calls)))
    # Each its own, because a decoder learns what its lines are like.
    decoders = [LineDecoder(BUILT_IN) for _ in cases]
    tune_malloc()  # as the daemon does
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for decoder, case in zip(decoders, cases, strict=True):
                measure(decoder, case)
    finally:
        gc.enable()
        gc.unfreeze()  # else nothing frees what modules hold at the end, and DuckDB's binding reports it as leaked
    report(cases)


def measure(decoder: LineDecoder, case: Case) -> None:
    """Decode a case's lines once."""
    origin = Origin(
        project="p", policy=case.policy, clock_ms=NOW_MS, type=case.type, file=f"{case.type}/p/{case.name}.jsonl"
    )
    piece = Piece(offset=0, data=case.data)
    start = time.process_time()
    decoded = decoder.decode(piece, origin)
    case.seconds.append(time.process_time() - start)
    case.lines, case.rejected = decoded.lines, len(decoded.rejects)
    if case.per_row:
        case.lines = sum(rows.count for rows in decoded.rows.values())


def report(cases: list[Case]) -> None:
    """Print the table."""
    print(f"Decoding, {datetime.now(UTC):%Y-%m-%d}: µs a line, and the ratio to clean lines of the same types")
    by_name = {case.name: case for case in cases}
    for case in cases:
        clean = by_name[case.clean].cost
        wanted = f"{case.cost / clean:5.2f}" if case.most or case.per_row else ""
        if case.most:
            wanted += f"  wanted {case.most:.1f}" + ("" if case.cost <= case.most * clean else "  OVER")
        rejected = f"{case.rejected / case.lines:4.0%} rejected" if case.rejected else ""
        print(f"{case.name:42} {case.cost:6.2f}  {wanted:26} {rejected}")


if __name__ == "__main__":
    run()
