"""What to do with what a dead instance left: a decision from what its journal says and what its folder holds."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFact(Generic[Key]):
    """What is known of one journalled file. `key` is how the folder's listing names it."""

    number: int
    key: Key
    final: bool
    """Its move is recorded as done."""
    here: bool
    """It stands in `claimed/` (same device and inode: a file of the same name may have been claimed since)."""
    aside: bool
    """It was taken out of `claimed/` to be deleted, and that is not done yet."""
    at_target: bool
    """The file that was claimed (same device and inode) stands where it was to be moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery(Generic[Key]):
    """Files by what is left to do for each; the planned shipments are to be replayed in any case."""

    release: tuple[Key, ...]
    """Claimed, but never journalled, hence never sent: back to where they were dropped."""
    settle: tuple[int, ...]
    """All acknowledged, not moved yet."""
    moved: tuple[int, ...]
    """Moved, but the record of it was lost."""
    watch: tuple[int, ...]
    """In their final place: watched for appended bytes for a while."""
    vanished: tuple[int, ...]
    """Neither here nor at the target: somebody took them away."""


def plan(claimed: Collection[Key], facts: Iterable[FileFact[Key]], unacknowledged: Mapping[int, int]) -> Recovery[Key]:
    """Decide for each file. `claimed` are the keys in the folder; `unacknowledged` counts shipments to replay."""
    known = set()
    groups: dict[str, list[int]] = {"settle": [], "moved": [], "watch": [], "vanished": []}
    for fact in facts:
        if fact.final:
            groups["watch"].append(fact.number)
            continue
        if fact.here or fact.aside:
            if fact.here:
                known.add(fact.key)
            if not unacknowledged.get(fact.number):
                groups["settle"].append(fact.number)
        elif fact.at_target:
            groups["moved"].append(fact.number)
        elif not unacknowledged.get(fact.number):
            groups["vanished"].append(fact.number)
    return Recovery(
        release=tuple(key for key in claimed if key not in known),
        settle=tuple(groups["settle"]),
        moved=tuple(groups["moved"]),
        watch=tuple(groups["watch"]),
        vanished=tuple(groups["vanished"]),
    )
