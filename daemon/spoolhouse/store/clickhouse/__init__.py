"""ClickHouse, spoken to in three ways: `native`, `http` (aiohttp) and `embedded` (chDB); `connect` picks one.

The native one has two kinds of connections: `wire` (asynch) and `threaded` (aioch, clickhouse-driver in threads).
"""
