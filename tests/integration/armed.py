"""Failpoints of this very process, armed for one test."""

import pytest

from spoolhouse import failpoints


def arm(monkeypatch: pytest.MonkeyPatch, traps: str) -> None:
    """Arm what `SPOOLHOUSE_TEST_FAILPOINTS=traps` would arm in a process of its own; nothing disarms them all."""
    monkeypatch.setattr(failpoints, "_traps", failpoints._parse(traps))
