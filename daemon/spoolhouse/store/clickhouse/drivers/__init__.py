"""Drivers: connections to ClickHouse over its native protocol, HTTP, or embedded in the process."""
