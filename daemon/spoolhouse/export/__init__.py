"""What producers write with: `SpoolWriter` puts events where the daemon takes them, whole or not at all."""

from spoolhouse.export.writer import SpoolWriter

__all__ = ["SpoolWriter"]
