"""Round robin over groups of items."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """Gives groups their turns over many calls; each call brings the remaining and the new items of all groups."""

    def __init__(self, group: Callable[[T], Hashable]) -> None:
        """Take the function that returns an item's group."""
        self._group = group
        self._served: dict[Hashable, int] = {}
        """The number of the last turn of each group that still has something."""
        self._turn = 0

    def take(self, items: Iterable[T]) -> Iterator[T]:
        """Yield one item of each group in turn, until all are yielded or the caller stops.

        The group that has waited longest is first, also across calls. New groups come in the order of their items, and
        a group's items keep their order. So the only item of a group waits for at most one item of each other group.
        """
        groups: dict[Hashable, list[T]] = {}
        for item in items:
            groups.setdefault(self._group(item), []).append(item)
        self._served = {name: self._served[name] for name in groups if name in self._served}
        order = sorted(groups, key=lambda name: self._served.get(name, 0))
        waiting = [(name, iter(groups[name])) for name in order]
        while waiting:
            still = []
            for name, some in waiting:
                for item in some:
                    self._turn += 1
                    self._served[name] = self._turn
                    yield item
                    still.append((name, some))
                    break
            waiting = still
