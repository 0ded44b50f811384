"""Errors in declarations."""


class DeclarationError(ValueError):
    """A declaration cannot be used. `key` is where in its file it is wrong."""

    def __init__(self, key: str, reason: str) -> None:
        """Keep the parts; `reason` is one line for a person."""
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason
