"""Every setting, its unit, its default and its reason. `sources.load` reads them from their sources.

The docstring below a setting is for users: `reference` renders it into config/spoolhouse.toml and
docs/configuration.md, and `spoolhouse config` prints it.

All settings are frozen, and unknown names are refused at every level. `Settings(...)` itself reads only its arguments:
a value made in a test does not depend on the machine's environment.
"""

from collections.abc import Mapping

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from spoolhouse.settings.batching import (
    AdoptSettings,
    BatchSettings,
    RejectSettings,
    RetrySettings,
    ShutdownSettings,
    WorkerSettings,
)
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.settings.events import EventsSettings
from spoolhouse.settings.serving import HttpSettings, LogSettings
from spoolhouse.settings.spool import RetentionSettings, SpoolSettings
from spoolhouse.settings.store import DuckDbSettings, StoreSettings

ENV_PREFIX = "SPOOLHOUSE_"
ENV_DELIMITER = "__"


class Settings(BaseSettings):
    """All settings, by group. The constructor takes its arguments and the defaults only; `load` reads the sources."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    store: StoreSettings = Field(default_factory=StoreSettings)
    clickhouse: ClickHouseSettings = Field(default_factory=ClickHouseSettings)
    duckdb: DuckDbSettings = Field(default_factory=DuckDbSettings)
    spool: SpoolSettings = Field(default_factory=SpoolSettings)
    events: EventsSettings = Field(default_factory=EventsSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    batch: BatchSettings = Field(default_factory=BatchSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    reject: RejectSettings = Field(default_factory=RejectSettings)
    shutdown: ShutdownSettings = Field(default_factory=ShutdownSettings)
    adopt: AdoptSettings = Field(default_factory=AdoptSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the arguments only: a value made in a test must not depend on the machine's environment."""
        return (init_settings,)

    @property
    def durable(self) -> bool:
        """Whether rows must survive a power loss of the server: always where the daemon deletes their files."""
        return self.clickhouse.durable or self.spool.delete_after_process

    @property
    def store_url(self) -> str:
        """The URL of the store that rows land in."""
        return self.store.url or self.clickhouse.url

    def secrets(self) -> tuple[str, ...]:
        """Return the values that must never be shown."""
        password = self.clickhouse.password
        return () if password is None or not password.get_secret_value() else (password.get_secret_value(),)

    @classmethod
    def names(cls) -> Mapping[str, FieldInfo]:
        """Return each setting's declaration by its dotted name (`spool.quiet`), in order."""
        groups = {group: field.annotation for group, field in cls.model_fields.items()}
        return {
            f"{group}.{name}": field
            for group, model in groups.items()
            if isinstance(model, type) and issubclass(model, BaseModel)
            for name, field in model.model_fields.items()
        }
