"""ClickHouse as a store: its drivers, error codes, schema, and how a batch lands."""
