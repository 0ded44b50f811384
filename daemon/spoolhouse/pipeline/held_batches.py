"""Held batches: they wait for their table, or for a server that is down, while other batches are sent.

Of the batches that wait for one table, one is tried now and then; when it lands, the others are released. If it fails,
another one is tried next: a single bad batch does not keep its table closed.
"""

import math
from collections import deque

from msgspec import Struct, field

from spoolhouse.errors import StoreError
from spoolhouse.pipeline.batch_delivery import BatchDelivery
from spoolhouse.pipeline.options import Current, Options
from spoolhouse.retry import Retries

AWAY = "a server that is away"
"""The group of the batches that may be on it already."""


class _Group(Struct, kw_only=True):
    retries: Retries
    deliveries: deque[BatchDelivery] = field(default_factory=deque)
    due: float = math.inf
    """When to try one; never, while one is being tried."""


class HeldBatches(Struct, kw_only=True):
    """Held deliveries, grouped by the table that they wait for, or by `AWAY`. Times: seconds of a monotonic clock."""

    options: Current[Options]
    _groups: dict[str, _Group] = field(default_factory=dict)
    _free: deque[BatchDelivery] = field(default_factory=deque)

    def __bool__(self) -> bool:
        """Tell whether anything waits, or is being tried."""
        return bool(self._groups or self._free)

    def holds(self, shipment: str) -> bool:
        """Tell whether a batch of a shipment waits until a table takes rows, or a server is back."""
        return any(one.batch.shipment.id == shipment for group in self._groups.values() for one in group.deliveries)

    def is_closed(self, table: str) -> bool:
        """Tell whether deliveries for `table` have to wait."""
        return table in self._groups

    def hold(self, delivery: BatchDelivery, error: StoreError, now: float, *, place: str | None = None) -> None:
        """Hold a delivery that met `error`, in its table's group, or at `place`: another table, or `AWAY`.

        Raises `GivenUpError` once the patience of a run with an end is used up.
        """
        name = delivery.table if place is None else place
        if delivery.held_at not in {"", name}:
            self._drop_at(delivery.held_at)
        delivery.held_at = name
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(retries=Retries(retry_policy=self.options.value.retry))
        group.retries.retry_policy = self.options.value.retry
        group.deliveries.append(delivery)
        group.due = now + group.retries.failed(error)

    def pace(self, now: float) -> None:
        """Let deliveries that wait now wait for the cap of the current retry policy at most."""
        for group in self._groups.values():
            if group.due < math.inf:
                group.due = min(group.due, now + self.options.value.retry.cap)

    def join(self, delivery: BatchDelivery) -> None:
        """Hold a delivery whose table is closed."""
        delivery.held_at = delivery.table
        self._groups[delivery.table].deliveries.append(delivery)

    def drop(self, delivery: BatchDelivery) -> None:
        """Let another one be tried in place of a delivery that was taken, and is withdrawn: it says nothing."""
        for name in {delivery.table, AWAY, delivery.held_at}:
            self._drop_at(name)

    def _drop_at(self, name: str) -> None:
        group = self._groups.get(name)
        if group is not None and group.due == math.inf:
            group.due = 0.0
            if not group.deliveries:
                del self._groups[name]

    def open(self, place: str) -> None:
        """Release all that wait for a table, or for a server."""
        group = self._groups.pop(place, None)
        if group is not None:
            self._free.extend(group.deliveries)

    def take(self, now: float) -> BatchDelivery | None:
        """Return a delivery that may be tried; None if there is none yet."""
        if self._free:
            return self._free.popleft()
        for group in self._groups.values():
            if group.due <= now and group.deliveries:
                group.due = math.inf
                return group.deliveries.popleft()
        return None

    def due(self) -> float:
        """Return when the next delivery is due; infinite if nothing can become due by itself."""
        return min((group.due for group in self._groups.values()), default=math.inf)
