"""Writes events into the spool, in files that appear whole or not at all.

`spoolhouse.export` offers it to other programs. The standard library alone, but for `validate=True`.
"""
