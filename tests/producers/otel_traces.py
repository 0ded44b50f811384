"""Traces of OpenTelemetry's SDK by its exporter for OTLP/JSON files: one line a batch."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

from lib.fixed import RangeError, out
from lib.otel import Ids, resource, wait
from openinference.semconv.trace import SpanAttributes as Inference
from opentelemetry.exporter.otlp.json.file import FileSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

ended = InMemorySpanExporter()
written = FileSpanExporter(stream=out)


def provider(of: Resource, start: int) -> TracerProvider:
    made = TracerProvider(resource=of, id_generator=Ids(start), span_limits=SpanLimits(max_events=2))
    made.add_span_processor(SimpleSpanProcessor(ended))
    return made


def write() -> None:
    """Write all that ended since the last time as one line."""
    written.export(ended.get_finished_spans())
    ended.clear()


shop = provider(resource, 7)
web = shop.get_tracer("opentelemetry.instrumentation.asgi", "0.66b2", attributes={"scope.team": "orders"})
model = shop.get_tracer("opentelemetry.instrumentation.openai_v2")

# A request with a child of each kind, events, an exception.
with web.start_as_current_span(
    "GET /orders/{id}",
    kind=SpanKind.SERVER,
    attributes={"http.request.method": "GET", "http.response.status_code": 200, "server.port": 8080, "rate": 0.25},
) as root:
    wait(0.0015)
    with web.start_as_current_span("SELECT orders", kind=SpanKind.CLIENT, attributes={"db.system.name": "postgresql"}):
        wait(0.012_345)
    root.add_event("cache.miss", {"key": "a:1", "sizes": [1, 2, 3]})
    with web.start_as_current_span("send", kind=SpanKind.PRODUCER) as sent:
        wait(0.001)
        producer = sent.get_span_context()
    root.set_attributes(
        {"flags": [True, False], "weights": [0.5, 1.5], "tags": ["a", "b"], "large": 2**53 + 1, "blob": b"\x00\xff"}
    )
    root.set_status(Status(StatusCode.OK))
write()

try:
    with web.start_as_current_span(
        "receive", kind=SpanKind.CONSUMER, links=[Link(producer, {"messaging.id": "m-1"})]
    ) as last:
        for n in range(3):
            last.add_event("attempt", {"n": n})
        wait(0.25)
        raise RangeError
except RangeError:
    pass
with web.start_as_current_span("unfinished business") as open_:
    open_.set_status(Status(StatusCode.ERROR))
write()

# A model's call by the conventions for generative AI, and by OpenInference's.
with model.start_as_current_span("invoke_agent weather", attributes={"gen_ai.operation.name": "invoke_agent"}):
    with model.start_as_current_span(
        "chat gpt-4o-mini",
        kind=SpanKind.CLIENT,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.response.id": "chatcmpl-9pYq",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.request.temperature": 0.2,
            "gen_ai.usage.input_tokens": 412,
            "gen_ai.usage.output_tokens": 37,
            "gen_ai.usage.cache_read.input_tokens": 256,
        },
    ):
        wait(0.8)
    with model.start_as_current_span("execute_tool get_weather", attributes={"gen_ai.tool.name": "get_weather"}):
        wait(0.1)
with model.start_as_current_span(
    "ChatCompletion",
    attributes={
        Inference.OPENINFERENCE_SPAN_KIND: "LLM",
        Inference.LLM_MODEL_NAME: "claude-sonnet-4-5",
        Inference.LLM_PROVIDER: "anthropic",
        Inference.LLM_SYSTEM: "anthropic",
        Inference.LLM_TOKEN_COUNT_PROMPT: 1200,
        Inference.LLM_TOKEN_COUNT_COMPLETION: 80,
        Inference.LLM_TOKEN_COUNT_TOTAL: 1280,
        Inference.LLM_TOKEN_COUNT_PROMPT_DETAILS_CACHE_READ: 900,
        Inference.LLM_COST_PROMPT: 0.00195,
        Inference.LLM_COST_COMPLETION: 0.0012,
        Inference.LLM_COST_TOTAL: 0.00315,
        Inference.INPUT_VALUE: '{"messages":[{"role":"user","content":"Sum it up."}]}',
        Inference.INPUT_MIME_TYPE: "application/json",
        Inference.OUTPUT_VALUE: "All is well.",
        Inference.SESSION_ID: "s-3",
        Inference.USER_ID: "u-7",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": "Sum it up.",
    },
):
    wait(1.5)
write()

# Two resources in one line, one of them without anything but its name.
other = provider(Resource({"service.name": "mail"}), 11)
with web.start_as_current_span("tick"), other.get_tracer("mail").start_as_current_span("tock") as tock:
    tock.set_attribute("empty", "")
write()
