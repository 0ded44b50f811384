"""Every setting, its unit, its default and its reason. `configuration.load` reads them from their sources.

All of it is frozen, and unknown names are refused at every level. `Settings(...)` itself reads nothing but its
arguments: a value made in a test does not depend on the machine's environment.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from spoolhouse.errors import BadSettingError

ENV_PREFIX = "SPOOLHOUSE_"
ENV_DELIMITER = "__"
URL_SCHEMES = ("clickhouse", "clickhouses", "http", "https", "chdb")
YEAR = 365 * 24 * 3600.0
MIB = 1024 * 1024

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LONGEST_NAME = 64
"""ClickHouse names files after tables; with a prefix, a suffix and escapes they must fit into 255 bytes."""


def _number(value: object) -> object:
    """Refuse true and false where a number is meant: Python would take them for 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("not_a_number", "true and false are no numbers")
    return value


Seconds = Annotated[float, BeforeValidator(_number), Field(gt=0, le=YEAR, allow_inf_nan=False)]
Size = Annotated[ByteSize, BeforeValidator(_number), Field(gt=0, le=1024**4)]
Count = Annotated[int, BeforeValidator(_number), Field(gt=0)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class ClickHouseSettings(_Group):
    """Where the rows go, and as whom. `password` is filled from a file by `configuration.load`, not here."""

    url: str = "clickhouse://localhost:9000"
    """The scheme picks the driver: clickhouse(s) is the native protocol (s: TLS), http(s) is HTTP, chdb:///folder is
    ClickHouse embedded in this process. User, password and database in it (`clickhouse://user:password@host/name`) move
    to their own settings."""
    username: str = Field(default="default", min_length=1)
    """ClickHouse's own name for the user that every installation has."""
    password: SecretStr | None = None
    """Better given by `password_file`: the environment and the command line of a process can be read by others."""
    password_file: Path | None = None
    """A file that holds the password; a newline at its end is not part of it. Where nothing gives a password, the
    systemd credential `clickhouse_password` is used."""
    database: str = "default"
    """Created, if it is missing, together with the tables."""
    table_prefix: str = "mastra_admin_"
    """Stands before each table's name, so that one database can hold several installations; may be empty."""
    migrate: bool = True
    """Bring the schema up to date at start, so that a first run needs no second command."""
    connect_timeout: Seconds = 10.0
    """Seconds until a server that does not answer counts as unreachable."""
    timeout: Seconds = 300.0
    """Seconds that one statement may take; an insert of half a million rows into a busy server takes tens."""

    @model_validator(mode="before")
    @classmethod
    def _take_url_apart(cls, data: object) -> object:
        """Move user, password and database from the URL to their settings, which win over it: then it can be shown."""
        if not isinstance(data, Mapping) or not isinstance(url := data.get("url"), str):
            return data
        try:
            parts = urlsplit(url)
        except ValueError:
            return data  # _check_url says what is wrong with it
        if parts.scheme == "chdb":
            return data
        user, _, host = parts.netloc.rpartition("@")
        name, colon, password = user.partition(":")
        found = {"username": unquote(name), "database": unquote(parts.path.strip("/"))}
        found = {setting: value for setting, value in found.items() if value}
        if colon:
            found["password"] = unquote(password)
        return {**found, **data, "url": parts._replace(netloc=host, path="").geturl()}

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        scheme = url.partition(":")[0]
        if not url.isprintable() or " " in url:
            raise ValueError("a URL without spaces and control characters")
        if scheme not in URL_SCHEMES:
            raise ValueError(f"a URL that begins with {', '.join(f'{scheme}://' for scheme in URL_SCHEMES)}")
        try:
            parts = urlsplit(url)
            # Reading .port raises ValueError above 65535.
            whole = bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
        except ValueError:
            whole = False
        if scheme == "chdb":
            if not re.fullmatch(r"chdb:///[^?#\0]*[^/?#\0][^?#\0]*", url):
                raise ValueError("chdb:/// and the absolute path of a folder")
        elif not whole:
            raise ValueError(f"{scheme}://host, :port up to 65535 where it is not the usual one, and perhaps /database")
        return url

    @field_validator("database")
    @classmethod
    def _check_database(cls, name: str) -> str:
        if not _DATABASE.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise ValueError(f"letters, digits, _ and -, beginning with a letter or _, at most {_LONGEST_NAME} of them")
        return name

    @field_validator("table_prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        if prefix and (not _IDENTIFIER.fullmatch(prefix) or len(prefix) > _LONGEST_NAME):
            raise ValueError(
                f"letters, digits and _, beginning with a letter or _, at most {_LONGEST_NAME} of them; or nothing"
            )
        return prefix


class SpoolSettings(_Group):
    """Which folder is watched, and what counts as a complete file."""

    storage_type: Literal["local"] = "local"
    """Where the spool lives; `local` is a folder that this machine has mounted."""
    storage_path: Path | None = None
    """The folder that holds the spool. `ingest` needs it; there is no safe guess."""
    base_path: str = "observability"
    """The spool inside `storage_path`; may be empty."""
    poll_interval_ms: int = Field(default=10_000, gt=0, le=int(YEAR * 1000))
    """Milliseconds between two scans. The watcher reports new files at once; the scan finds what it missed."""
    quiet: Seconds = 0.3
    """Seconds without a change of size or time before a file counts as complete."""
    torn_after: Seconds = 10.0
    """Seconds that an unterminated last line may wait for its end before it is rejected."""
    append_watch: Seconds = 60.0
    """Seconds after a file's claim in which bytes that its writer still appends are ingested too."""
    max_line: Size = ByteSize(16 * MIB)
    """Bytes of the longest line that is taken; it bounds the memory that one line can cost."""
    project: Literal["trust", "warn", "reject"] = "warn"
    """What happens to an event whose project is not its folder's: nothing, a warning, or rejection."""
    project_id: str | None = None
    """Take only the files of this project."""
    delete_after_process: bool = False
    """Delete a file after its last row is acknowledged, in place of moving it to processed/."""

    @property
    def root(self) -> Path:
        """The folder that is watched; BadSettingError if no `storage_path` was given."""
        if self.storage_path is None:
            raise BadSettingError(
                "spool.storage_path: not given; accepted: the folder that holds the spool (--file-storage-path)"
            )
        return self.storage_path / self.base_path

    @field_validator("poll_interval_ms", mode="before")
    @classmethod
    def _check_number(cls, value: object) -> object:
        return _number(value)

    @field_validator("storage_path", mode="before")
    @classmethod
    def _check_path(cls, path: object) -> object:
        if path == "" or "\0" in str(path):
            raise ValueError("a folder's path")
        return path

    @field_validator("base_path")
    @classmethod
    def _check_base_path(cls, path: str) -> str:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\0" in path:
            raise ValueError("a relative path without ..")
        return "" if path == "" else str(parts)

    @field_validator("project_id")
    @classmethod
    def _check_project(cls, project: str | None) -> str | None:
        if project is not None and (project in {"", ".", ".."} or "/" in project or "\0" in project):
            raise ValueError("a project's id: the name of its folder in the spool")
        return project


class BatchSettings(_Group):
    """How much travels together: rows per insert decide the speed, these bounds decide the memory."""

    max_files: Count = 2000
    """Files of one shipment; small ones are joined, because an insert of 1 000 rows costs six times the work per row
    of one of 200 000."""
    max_bytes: Size = ByteSize(96 * MIB)
    """Input bytes of one shipment; larger files are cut at line ends."""
    max_rows: Annotated[Count, Field(le=500_000)] = 500_000
    """Rows of one insert; more would be two blocks, and then a retry could lose or double rows."""
    max_insert_bytes: Annotated[Size, Field(le=128_000_000)] = ByteSize(128_000_000)
    """Bytes of one insert as it is sent; bounded for the same reason."""
    side_bytes: Size = ByteSize(24 * MIB)
    """Bytes of rows of other types that a shipment may collect in memory beside its own type's."""
    linger: Seconds = 0.2
    """Seconds that a shipment which is not full waits for more files."""


class WorkerSettings(_Group):
    """How much happens at once."""

    decoders: Annotated[Count, Field(le=64)] = 2
    """Shipments read at once. Validation itself takes turns in one thread (it holds the interpreter)."""
    inserters: Annotated[Count, Field(le=64)] = 3
    """Inserts at once; two are fed while the server writes what it has of a third (measured: a tenth faster)."""
    shipments: Annotated[Count, Field(le=1024)] = 2
    """Claimed shipments that may wait for a decoder."""


class RetrySettings(_Group):
    """How long to wait before a transient error is tried again; each wait is random up to a doubling bound."""

    first: Seconds = 0.2
    """Seconds of the first bound."""
    cap: Seconds = 30.0
    """Seconds of the last bound: how late, at most, a recovered server is noticed."""


class ShutdownSettings(_Group):
    """How a stop goes."""

    grace: Seconds = 25.0
    """Seconds to finish what is claimed after SIGTERM; below the 30 s after which container runtimes kill."""


class AdoptSettings(_Group):
    """How the work of dead neighbours is found."""

    interval: Seconds = 10.0
    """Seconds between two looks for instance folders whose owner is gone."""


class LogSettings(_Group):
    """What is said on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is written."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal and `json` elsewhere."""


class Settings(BaseSettings):
    """All settings, by group. The constructor takes its arguments and the defaults only; `load` reads the sources."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    clickhouse: ClickHouseSettings = ClickHouseSettings()
    spool: SpoolSettings = SpoolSettings()
    batch: BatchSettings = BatchSettings()
    workers: WorkerSettings = WorkerSettings()
    retry: RetrySettings = RetrySettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    adopt: AdoptSettings = AdoptSettings()
    log: LogSettings = LogSettings()

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
