"""What the OpenTelemetry samples share: a resource, ids that are the same in each run, and times in between."""

# mypy: disable-error-code="import-not-found, misc, no-any-return"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

from collections.abc import Iterator

from lib.fixed import clock, ids
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator

resource = Resource(
    {
        "service.name": "shop",
        "service.version": "1.4.2",
        "service.namespace": "web",
        "deployment.environment.name": "production",
        "telemetry.sdk.name": "opentelemetry",
        "process.command_args": ["serve", "--port", "8080"],
    },
    "https://opentelemetry.io/schemas/1.37.0",
)


class Ids(IdGenerator):
    """Ids that look drawn, the same in each run."""

    def __init__(self, start: int) -> None:
        self.numbers: Iterator[int] = ids(start)

    def generate_span_id(self) -> int:
        return next(self.numbers)

    def generate_trace_id(self) -> int:
        return next(self.numbers) << 64 | next(self.numbers)


def wait(seconds: float) -> None:
    """Let time pass."""
    clock.shift(seconds)
