"""The daemon's settings from code alone: neither the environment nor a file is read."""

from collections.abc import Mapping

from pydantic import ValidationError

from spoolhouse.errors import BadSettingError
from spoolhouse.settings import Settings
from spoolhouse.store.duckdb.url import SCHEME as DUCKDB


def settings_of(store: str, given: Mapping[str, object]) -> Settings:
    """Return the settings for a store's URL, and others by dotted name, where None is the default.

    Raises `BadSettingError`.
    """
    groups: dict[str, dict[str, object]] = {name: {} for name in Settings.model_fields}
    groups["store" if store.startswith(f"{DUCKDB}:") else "clickhouse"]["url"] = store
    for dotted, value in given.items():
        group, _, name = dotted.partition(".")
        if value is not None:
            groups.setdefault(group, {})[name] = value
    try:
        return Settings.model_validate(groups)
    except ValidationError as error:
        # Not chained: pydantic keeps the input, secrets included.
        faults = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise BadSettingError("; ".join(faults)) from None
