"""The query side in DuckDB."""
