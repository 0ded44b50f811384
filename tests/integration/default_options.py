"""The options of stages that are run alone: those of the settings, but with short pauses."""

from dataclasses import replace

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.retry import RetryPolicy
from spoolhouse.service.options import make_options
from spoolhouse.settings import Settings

OPTIONS = replace(make_options(Settings(), BUILT_IN, once=False), retry=RetryPolicy(first=0.01, cap=0.01))


def retrying(first: float, cap: float, patience: float | None = None) -> Current[Options]:
    """Return them with these pauses between attempts."""
    return Current(replace(OPTIONS, retry=RetryPolicy(first=first, cap=cap, patience=patience)))
