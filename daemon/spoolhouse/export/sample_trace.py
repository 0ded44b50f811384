"""What all sample events of one trace have to agree on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

Fields = dict[str, object]

FAILURE_RATE = 0.06
TOOLS = ("search_orders", "lookup_customer", "web_search", "create_refund", "send_email", "query_database")
QUESTIONS = (
    "Where is my order? It should have arrived on Tuesday … tracking says nothing.",
    "Please summarise last week's incident reports for the on-call team.",
    "Warum wurde mir die Rechnung zweimal geschickt?",
    "Find three suppliers in Kraków and compare their delivery times.",
    "Reset my password, the link in the e-mail has expired.",
)
ANSWERS = (
    "Your order left the warehouse this morning and arrives tomorrow before noon.",
    "Three incidents, all resolved; the longest took 42 minutes. Details are attached.",
    "Die zweite Rechnung war ein Versehen und ist storniert. Entschuldigung!",
    "I could not reach the supplier directory. Shall I try again in a few minutes?",
)
ERRORS = ("rate_limit_exceeded", "tool_timeout", "context_length_exceeded", "upstream_503")

# What the spans of a trace do, in order: the name, its kind, and which span it hangs below.
PLAN: tuple[tuple[str, str, int | None], ...] = (
    ("agent.run", "server", None),
    ("memory.recall", "internal", 0),
    ("llm.generate", "client", 0),
    ("tool.call", "client", 2),
    ("retrieval.query", "client", 2),
    ("llm.generate", "client", 0),
    ("tool.call", "client", 5),
    ("memory.store", "producer", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What all events of one trace have to agree on. Times are milliseconds since 1970."""

    random: Random
    flat: bool
    id: str
    project: str
    deployment: str
    agent: str
    system: str
    model: str
    failed: bool
    spans: tuple[str, ...]
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    environment: str
    user: str

    @property
    def end(self) -> int:
        """When it has ended."""
        return self.starts[0] + self.lengths[0]


def time_text(ms: int) -> str:
    """Return milliseconds since 1970 as ISO 8601."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"
