"""How far a list looks back at first, until its page is full. Pure."""

from collections.abc import Iterator

from spoolhouse.query.questions import Listing, Window

_STEPS_MS = tuple(hours * 3_600_000 for hours in (1, 6, 24, 7 * 24, 30 * 24))


def windows(listing: Listing) -> Iterator[Window]:
    """Yield the parts of a listing's window, in its order, each as long as those before it, or longer."""
    since, until = listing.window.since_ms, listing.window.until_ms
    if listing.after is not None and listing.descending:
        until = min(until, listing.after.time_ms + 1)
    elif listing.after is not None:
        since = max(since, listing.after.time_ms)
    start = until if listing.descending else since
    for step in _STEPS_MS:
        if since >= until:
            return
        if listing.descending:
            edge = max(since, start - step)
            yield Window(since_ms=edge, until_ms=until)
            until = edge
        else:
            edge = min(until, start + step)
            yield Window(since_ms=since, until_ms=edge)
            since = edge
    if since < until:
        yield Window(since_ms=since, until_ms=until)
