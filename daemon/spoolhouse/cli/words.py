"""Words that several commands print."""


def counted(number: int, what: str) -> str:
    """Return a number of things: `1 line`, `3,001 lines`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
