"""The one place that knows which stores there are: the URL's scheme picks one."""

from spoolhouse.service.backend import Backend
from spoolhouse.settings import Settings


def open_backend(settings: Settings, *, fingerprint: str) -> Backend:
    """Return the store that the settings name; it connects on first use. Raises `BadSettingError`."""
    # Each is imported on demand: with its library the import takes a tenth of a second.
    if settings.store.path is not None:
        from spoolhouse.service.duckdb import DuckDbBackend  # noqa: PLC0415  # see above

        return DuckDbBackend(settings, settings.store.path, fingerprint=fingerprint)
    from spoolhouse.service.clickhouse import ClickHouseBackend  # noqa: PLC0415  # see above

    return ClickHouseBackend(settings, fingerprint=fingerprint)
