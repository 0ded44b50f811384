"""The number of files that this process may have open at once."""

import contextlib
import resource


def raise_limit() -> None:
    """Raise the soft limit on descriptors, often 1024, to the hard limit."""
    with contextlib.suppress(OSError, ValueError):  # a system may refuse even its own limit
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit() -> int:
    """Return the present limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
