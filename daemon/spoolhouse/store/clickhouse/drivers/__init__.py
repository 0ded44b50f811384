"""Drivers for ClickHouse: `native`, `http` (aiohttp) and `embedded` (chDB); `connect` picks one.

The native driver has two kinds of connections: asynch, and aioch (clickhouse-driver in threads).
"""
