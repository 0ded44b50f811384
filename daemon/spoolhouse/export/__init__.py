"""For producers: `SpoolWriter` writes events into the spool, whole files or none."""

from spoolhouse.export.writer import SpoolWriter

__all__ = ["SpoolWriter"]
