"""Who goes first when many want to: everybody takes turns."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def fair(items: Iterable[T], group: Callable[[T], Hashable]) -> Iterator[T]:
    """Yield one item of each group in turn, until all are through; within a group, and among them, the order is kept.

    So the only item of a group waits for one item of each other group, however many those have.
    """
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(group(item), []).append(item)
    waiting = [iter(some) for some in groups.values()]
    while waiting:
        still = []
        for some in waiting:
            for item in some:
                yield item
                still.append(some)
                break
        waiting = still
