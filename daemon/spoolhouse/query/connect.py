"""Ways to a store: the one place of the query side that knows which stores there are."""

from spoolhouse.query.aliases import Client
from spoolhouse.query.sync import SyncQuery

DEFAULT_PREFIX = "mastra_admin_"


def connect(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    database: str | None = None,
    table_prefix: str = DEFAULT_PREFIX,
) -> Client:
    """Return what asks the store at `url`, which is as the setting `store.url`; use it with `async with`.

    The user needs no right but SELECT. A DuckDB file that a daemon has is asked through that daemon. Raises
    `BadSettingError`.
    """
    # The stores import the questions of this package.
    if url.startswith("duckdb:"):
        from spoolhouse.query.file_client import FileClient  # noqa: PLC0415  # http.client, for this alone
        from spoolhouse.store.duckdb.query.reader import DuckDbReader  # noqa: PLC0415  # see above
        from spoolhouse.store.duckdb.url import path_of  # noqa: PLC0415  # see above

        return FileClient(DuckDbReader.of_file(path_of(url), table_prefix), path_of(url), table_prefix)
    from spoolhouse.store.clickhouse.query.reader import open_reader  # noqa: PLC0415  # see above

    return Client(open_reader(url, username=username, password=password, database=database, table_prefix=table_prefix))


def connect_sync(
    url: str,
    *,
    username: str | None = None,
    password: str | None = None,
    database: str | None = None,
    table_prefix: str = DEFAULT_PREFIX,
) -> SyncQuery:
    """Return the same for code without asyncio, such as notebooks: its methods return values, and plain iterators."""
    return SyncQuery(
        lambda: connect(url, username=username, password=password, database=database, table_prefix=table_prefix)
    )
