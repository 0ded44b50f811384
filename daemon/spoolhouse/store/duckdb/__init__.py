"""DuckDB, the store of one machine: one file, one process that has it, no server."""
