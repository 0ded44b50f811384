"""The schema: tables and rollups as values, rendered as DDL, compared with a live database, migrated."""
