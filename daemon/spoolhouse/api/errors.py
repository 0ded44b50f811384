"""Why something is refused over HTTP, besides what a question itself raises."""

from spoolhouse.errors import SpoolhouseError


class LateError(SpoolhouseError):
    """What is asked does not come in."""


class LongError(SpoolhouseError):
    """What is asked is longer than anything may be."""


class BusyError(SpoolhouseError):
    """As much is under way as may be."""


class NoSpoolError(SpoolhouseError):
    """There is no spool to write to."""


class SpoolAwayError(SpoolhouseError):
    """The spool cannot be written to now."""


class SpoolFullError(SpoolhouseError):
    """The spool's disk is full."""
