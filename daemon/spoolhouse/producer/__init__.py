"""Writes events into the spool, whole files or none, with the standard library alone: `spoolhouse.export` offers it."""
