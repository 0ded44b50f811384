"""The rollups of agent events: model calls by hour and by day, and all events by project."""

from spoolhouse.events.declaration import Grain, Measure, Reckoning, Rollup, Tally

_PROMPTS = {"event_type": ("prompt_call",)}
_GOOD = {"status": ("success",)}
_FAILED = {"status": ("error", "timeout", "assertion_failed")}
"""A warning is neither a success nor a failure, and an event need not have a status."""

_TOKENS = (
    Tally(name="total_tokens_input", reckoning=Reckoning.SUM, column="tokens_input"),
    Tally(name="total_tokens_output", reckoning=Reckoning.SUM, column="tokens_output"),
    Tally(name="total_cost_usd", reckoning=Reckoning.SUM, column="cost_estimate_usd"),
)


def _latency(average: str = "avg_latency_ms") -> Measure:
    return Measure(
        column="latency_ms",
        total="total_latency_ms",
        average=average,
        minimum="min_latency_ms",
        maximum="max_latency_ms",
        quantiles=True,
    )


AGENT_ROLLUPS = (
    Rollup(
        name="hourly_metrics",
        time="timestamp",
        keys=("project_id",),
        trailing_keys=("model", "event_type", "status"),
        only=_PROMPTS,
        count="request_count",
        tallies=_TOKENS,
        measure=_latency(),
    ),
    Rollup(
        name="daily_metrics",
        time="timestamp",
        grain=Grain.DAY,
        keys=("project_id",),
        only=_PROMPTS,
        count="total_requests",
        tallies=(
            Tally(name="successful_requests", only=_GOOD),
            Tally(name="failed_requests", only=_FAILED),
            *_TOKENS,
            Tally(name="unique_models", reckoning=Reckoning.DISTINCT, column="model"),
        ),
        measure=_latency(),
    ),
    Rollup(
        name="project_summary",
        time="timestamp",
        grain=Grain.DAY,
        keys=("project_id",),
        shown_by=("project_id",),
        count="total_events",
        tallies=(
            Tally(name="prompt_calls", only=_PROMPTS),
            Tally(name="errors", only=_FAILED),
            Tally(name="successful_events", only=_GOOD),
            Tally(name="total_cost", reckoning=Reckoning.SUM, column="cost_estimate_usd"),
            Tally(name="first_event_time", reckoning=Reckoning.FIRST, column="timestamp"),
            Tally(name="last_event_time", reckoning=Reckoning.LAST, column="timestamp"),
        ),
        measure=_latency("avg_latency"),
    ),
)
