"""Plan the recovery of a dead instance's files, from its journal and its folder. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Generic, TypeVar

from msgspec import Struct

Key = TypeVar("Key")


class FileFact(Struct, Generic[Key], frozen=True, kw_only=True):
    """The facts about one journalled file. `key` is its name in the folder's listing."""

    number: int
    key: Key
    final: bool
    """The journal has its move as done."""
    here: bool
    """It is in `claimed/` (same device and inode: a file of the same name may have been claimed since)."""
    aside: bool
    """It was taken out of `claimed/` to be deleted, and that is not done yet."""
    at_target: bool
    """The claimed file (same device and inode) is at the target of its move."""


class Recovery(Struct, Generic[Key], frozen=True, kw_only=True):
    """Files by their remaining steps; the planned shipments are replayed in any case."""

    release: tuple[Key, ...]
    """Claimed, but never journalled, hence never sent: put them back."""
    settle: tuple[int, ...]
    """Acknowledged, not moved yet."""
    moved: tuple[int, ...]
    """Moved, but the record of it was lost."""
    watch: tuple[int, ...]
    """In their final place: watched for appended bytes for a while."""
    vanished: tuple[int, ...]
    """Neither here nor at the target: removed by hand."""


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
