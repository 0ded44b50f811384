"""A real ClickHouse for the tests: found or fetched, started, killed, restarted, asked.

The flow: `fetch` finds the engine, `config` writes what it reads, `server` starts `child` with both and waits until
it answers, `client` asks it over HTTP as an oracle that shares no code with Spoolhouse.
"""

from tests.engine.client import QueryError, Scalar
from tests.engine.config import Config, Replica, User
from tests.engine.database import Database
from tests.engine.fetch import Engine, EngineError, find_engine
from tests.engine.pool import Pool, make_tables
from tests.engine.server import LocalServer, Server, StartServer, free_ports

__all__ = [
    "Config",
    "Database",
    "Engine",
    "EngineError",
    "LocalServer",
    "Pool",
    "QueryError",
    "Replica",
    "Scalar",
    "Server",
    "StartServer",
    "User",
    "find_engine",
    "free_ports",
    "make_tables",
]
