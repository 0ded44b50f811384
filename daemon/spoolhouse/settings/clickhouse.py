"""The server, the database and its tables."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from spoolhouse.events.naming import LOCAL, Shards
from spoolhouse.settings.base import Group, Seconds
from spoolhouse.store.clickhouse.failover import name_of, urls_of

URL_SCHEMES = ("clickhouse", "clickhouses", "clickhouse+aioch", "clickhouses+aioch", "http", "https", "chdb")

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DATABASE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_LONGEST_NAME = 64
"""ClickHouse names files after tables; with a prefix, a suffix and escapes they must fit into 255 bytes."""


class ClickHouseSettings(Group):
    """The server, the user and the tables."""

    url: str = "clickhouse://localhost:9000"
    """The scheme picks the driver: `clickhouse` is the native protocol and `http` is HTTP (`clickhouses`, `https`: over
    TLS), `chdb:///folder` is ClickHouse embedded in this process, `clickhouse+aioch` is the native protocol in threads.
    A user, password and database in it (`clickhouse://user:password@host/name`) set those settings. Several hosts
    (`clickhouse://a:9000,b:9000`) are replicas of the same tables: when one is away, the next takes over. A batch that
    may be on an absent host waits for it: remove a host from the URL only once it is gone for good."""
    username: str = Field(default="default", min_length=1)
    """The default is the user that every installation has."""
    password: SecretStr | None = Field(default=None, examples=["secret"])
    """Better use `password_file`: other users can read the environment and the command line of a process."""
    password_file: Path | None = Field(default=None, examples=["/run/secrets/clickhouse_password"])
    """A file that holds the password; a newline at its end is not part of it. Without any password, the systemd
    credential `clickhouse_password` is used."""
    database: str = "default"
    """Created by `migrate` if it is missing."""
    table_prefix: str = "mastra_admin_"
    """Stands before each table's name, so that one database can hold several installations; may be empty. The default
    is the prefix of the Mastra admin schema, whose tables these are."""
    migrate: bool = True
    """Bring the schema up to date at start, so that a first run needs no second command."""
    cluster: str | None = Field(default=None, examples=["main"])
    """The name of a cluster in the server's configuration (`remote_servers`). Rows are then stored in tables
    `{table_prefix}local_*` on each shard, and the plain names stand for all shards. Set it before the first migrate:
    existing tables are not moved."""
    keeper: bool = True
    """The cluster has ClickHouse Keeper (and the macros shard and replica): tables are replicated, and one migrate
    changes all servers. Without it, migrate each server: a daemon migrates only its own."""
    distributed_inserts: bool = False
    """Insert through the Distributed tables, which send each trace to its shard, instead of directly into the local
    tables of the server in `url`, which is faster. It has no effect without a cluster. Let the spool run empty before
    you change it."""
    durable: bool = False
    """Have the server sync rows to its disk before it acknowledges them, so that its power loss loses none: inserts
    take longer. It is a setting of the tables, which migrate changes. `spool.delete_after_process` implies it."""
    text_index: bool = False
    """Index the words of log messages: a search for rare ones (`spoolhouse logs --words`) then reads few rows. It costs
    the server about a tenth more CPU for each inserted log, and a fifth more disk. ClickHouse before 26.2 goes without
    it. Migrate creates it, for old rows in the background, and leaves it there if this is false again."""
    connect_timeout: Seconds = 10.0
    """Seconds until a silent server counts as unreachable."""
    timeout: Seconds = 300.0
    """Seconds that one statement may take; an insert of half a million rows into a busy server takes tens."""

    compression: Literal["none", "lz4", "zstd"] = "none"
    """Compression of rows on their way to the server: `lz4` saves time between two machines and costs time on one;
    `zstd` is for a slow network. Not for chdb."""
    tls_ca: Path | None = Field(default=None, examples=["/etc/spoolhouse/ca.pem"])
    """A file with the certificates of the trusted authorities, in place of the system's."""
    tls_cert: Path | None = Field(default=None, examples=["/etc/spoolhouse/client.pem"])
    """A file with the client certificate (and perhaps its key) that the server asks for."""
    tls_key: Path | None = Field(default=None, examples=["/etc/spoolhouse/client.key"])
    """The key of `tls_cert`, without a password, if that file does not hold it."""
    tls_verify: bool = True
    """Whether the server's certificate is verified; without that, anybody on the network path can read the rows."""

    @model_validator(mode="before")
    @classmethod
    def _split_url(cls, data: object) -> object:
        """Move user, password and database from the URL to their settings, which override it."""
        if not isinstance(data, Mapping) or not isinstance(url := data.get("url"), str):
            return data
        try:
            of_each = [urlsplit(one) for one in urls_of(url)]
        except ValueError:
            return data  # _check_url reports the fault
        parts = of_each[0]
        if parts.scheme == "chdb":
            return data
        user = parts.netloc.rpartition("@")[0]
        hosts = ",".join(part.netloc.rpartition("@")[2] for part in of_each)
        name, colon, password = user.partition(":")
        found = {"username": unquote(name), "database": unquote(parts.path.strip("/"))}
        found = {setting: value for setting, value in found.items() if value}
        if colon:
            found["password"] = unquote(password)
        return {**found, **data, "url": parts._replace(netloc=hosts, path="").geturl()}

    @property
    def hosts(self) -> Mapping[str, str]:
        """The URL of each server, by its name."""
        return {name_of(url): url for url in urls_of(self.url)}

    @property
    def shards(self) -> Shards | None:
        """The shards for inserts; None without a cluster."""
        if self.cluster is None:
            return None
        return Shards(cluster=self.cluster, prefix=self.table_prefix, through=self.distributed_inserts)

    @property
    def insert_prefix(self) -> str:
        """The prefix of the tables that rows are sent to."""
        own_shard = self.cluster is not None and not self.distributed_inserts
        return self.table_prefix + (LOCAL if own_shard else "")

    @field_validator("cluster")
    @classmethod
    def _check_cluster(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is not None and (not name.isprintable() or not name.strip()):
            raise ValueError("the name of a cluster, as `SELECT cluster FROM system.clusters` shows it")
        if name is not None and str(info.data.get("url")).startswith("chdb:"):
            raise ValueError("no cluster with a chdb:/// url: an embedded engine is part of none")
        return name

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        scheme = url.partition(":")[0]
        if not url.isprintable() or " " in url:
            raise ValueError("a URL without spaces and control characters")
        if scheme not in URL_SCHEMES:
            raise ValueError(f"a URL that begins with {', '.join(f'{scheme}://' for scheme in URL_SCHEMES)}")
        if scheme == "chdb":
            if not re.fullmatch(r"chdb:///[^?#\0]*[^/?#\0][^?#\0]*", url):
                raise ValueError("chdb:/// and the absolute path of a folder")
            return url
        urls = urls_of(url)
        if not all(_is_whole(one) for one in urls):
            raise ValueError(f"{scheme}://host, :port up to 65535 where it is not the usual one, and perhaps /database")
        if len({name_of(one) for one in urls}) < len(urls):
            raise ValueError("each host once")
        return url

    @field_validator("tls_key")
    @classmethod
    def _check_key(cls, key: Path | None, given: ValidationInfo) -> Path | None:
        if key is not None and given.data.get("tls_cert") is None:
            raise ValueError("a key together with clickhouse.tls_cert")
        return key

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


def _is_whole(url: str) -> bool:
    """Return whether a URL of one host names the host, and nothing beyond a port and a database."""
    try:
        parts = urlsplit(url)
        # Reading .port raises ValueError above 65535.
        return bool(parts.hostname) and parts.port != 0 and not parts.query and not parts.fragment
    except ValueError:
        return False
