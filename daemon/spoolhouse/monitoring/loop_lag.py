"""Measures how late the event loop runs: whether something blocks it."""

import asyncio

from spoolhouse.monitoring import metrics

_PERIOD = 0.02


class LoopLagMonitor:
    """Wakes up every 20 ms and notes by how much it was late. Costs fifty wake-ups a second."""

    def __init__(self) -> None:
        """Begin to measure on the running loop."""
        self.longest = 0.0
        """Seconds."""
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + _PERIOD
        self._handle = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        late = max(0.0, now - self._due)
        metrics.LOOP_LAG.observe(late)
        self.longest = max(self.longest, late)
        self._due = now + _PERIOD
        self._handle = self._loop.call_at(self._due, self._tick)

    def stop(self) -> None:
        """End the measurement."""
        self._handle.cancel()
