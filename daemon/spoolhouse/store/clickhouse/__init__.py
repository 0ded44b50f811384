"""ClickHouse, spoken to in three ways: `native` (asynch), `http` (aiohttp), `embedded` (chDB); `connect` picks one."""
