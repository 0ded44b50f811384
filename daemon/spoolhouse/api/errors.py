"""Errors of the HTTP API itself; questions raise those of `spoolhouse.errors`."""

from spoolhouse.errors import SpoolhouseError


class LateError(SpoolhouseError):
    """The request has not come in within its time."""


class LongError(SpoolhouseError):
    """The request is larger than the limit."""


class BusyError(SpoolhouseError):
    """As many requests are under way as the server allows."""


class NoSpoolError(SpoolhouseError):
    """There is no spool to write to."""


class SpoolAwayError(SpoolhouseError):
    """The spool cannot be written to now."""


class SpoolFullError(SpoolhouseError):
    """The spool's disk is full."""
