"""How this process handles memory: settings of the runtime that decide a third of the speed."""

import gc


def tune_gc() -> None:
    """Make garbage collection rare: rows make no cycles, but each million of them would be walked many times.

    Measured: decoding is a third faster. Cycles of other code are still found, a little later.
    """
    gc.set_threshold(100_000, 50, 100)


def freeze_gc() -> None:
    """Exclude all present objects from garbage collection."""
    gc.freeze()


def tune_malloc() -> None:
    """Let the allocator reuse the megabytes of one piece for the next, in place of giving them back to the system.

    Else each piece that is read, decoded and encoded is paid for in page faults (a fifth of decoding, measured with
    glibc): one arena for all threads, nothing below 32 MiB mapped on its own, at most 64 MiB kept. Other C libraries
    do as they do.
    """
    import ctypes  # noqa: PLC0415  # a command that is no daemon does without

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        arena_max, trim_threshold, mmap_threshold = -8, -1, -3
        mallopt(arena_max, 1)
        mallopt(trim_threshold, 64 << 20)
        mallopt(mmap_threshold, 32 << 20)
