"""How many files this process may have open at once."""

import contextlib
import resource


def raise_limit() -> None:
    """Take all descriptors that the system grants this process: the soft limit is often 1024."""
    with contextlib.suppress(OSError, ValueError):  # a system may refuse even what it promised
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """Return how many may be open now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
