"""Who goes first when many want to: everybody takes turns."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class RoundRobin(Generic[T]):
    """Whose turn it is among groups that come again and again, each with what is left of it and what is new."""

    def __init__(self, group: Callable[[T], Hashable]) -> None:
        """Take what tells the group of an item."""
        self._group = group
        self._served: dict[Hashable, int] = {}
        """The number of the last turn of each group that still has something."""
        self._turn = 0

    def take(self, items: Iterable[T]) -> Iterator[T]:
        """Yield one item of each group in turn, until all are through, or nobody asks for more.

        Who has waited longest is first, whatever was taken in earlier calls; those who are new come in the order of
        their items, which is kept within a group. So the only item of a group waits for one item of each other group,
        however many those have, and however few are taken at a time.
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
