"""Where batches wait that only a person can help, or a server that is away, so that others' work goes on.

Of all that wait for one table, one is tried now and then; when it lands, the others may go. If it does not, the next
time it is another one's turn: a batch with a trouble of its own does not keep its table closed.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from spoolhouse.errors import StoreError
from spoolhouse.pipeline.batch_delivery import BatchDelivery
from spoolhouse.retry import Retries, RetryPolicy

AWAY = "a server that is away"
"""What a batch waits for that may be on it."""


@dataclass(slots=True, kw_only=True)
class _Group:
    retries: Retries
    deliveries: deque[BatchDelivery] = field(default_factory=deque)
    due: float = math.inf
    """When to try one; never, while one is being tried."""


@dataclass(slots=True, kw_only=True)
class HeldBatches:
    """Held deliveries by what they wait for: their table, or `AWAY`. Times are seconds of a monotonic clock."""

    retry_policy: RetryPolicy
    """May be changed at any time."""
    _lots: dict[str, _Group] = field(default_factory=dict)
    _free: deque[BatchDelivery] = field(default_factory=deque)

    def __bool__(self) -> bool:
        """Tell whether anything waits, or is being tried."""
        return bool(self._lots or self._free)

    def is_closed(self, table: str) -> bool:
        """Tell whether deliveries for `table` have to wait."""
        return table in self._lots

    def hold(self, delivery: BatchDelivery, error: StoreError, now: float, *, place: str | None = None) -> None:
        """Park a delivery that has met `error`, in its table's lot or another one, which keeps no table closed.

        Raises `GivenUpError` once patience is used up.
        """
        name = delivery.table if place is None else place
        lot = self._lots.get(name)
        if lot is None:
            lot = self._lots[name] = _Group(retries=Retries(retry_policy=self.retry_policy))
        lot.retries.retry_policy = self.retry_policy
        lot.deliveries.append(delivery)
        lot.due = now + lot.retries.failed(error)

    def pace(self, retry_policy: RetryPolicy, now: float) -> None:
        """Go by another persistence; what waits now waits for its cap at most."""
        self.retry_policy = retry_policy
        for lot in self._lots.values():
            if lot.due < math.inf:
                lot.due = min(lot.due, now + retry_policy.cap)

    def join(self, delivery: BatchDelivery) -> None:
        """Park a delivery whose table is closed."""
        self._lots[delivery.table].deliveries.append(delivery)

    def open(self, place: str) -> None:
        """Let all go that wait for a table, or for a server."""
        lot = self._lots.pop(place, None)
        if lot is not None:
            self._free.extend(lot.deliveries)

    def take(self, now: float) -> BatchDelivery | None:
        """Return a delivery that may be tried; None if there is none yet."""
        if self._free:
            return self._free.popleft()
        for lot in self._lots.values():
            if lot.due <= now and lot.deliveries:
                lot.due = math.inf
                return lot.deliveries.popleft()
        return None

    def due(self) -> float:
        """Return when to look again; infinite if nothing can become due by itself."""
        return min((lot.due for lot in self._lots.values()), default=math.inf)
