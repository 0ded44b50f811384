"""What a test can configure on a server of its own, and the one file that says it to ClickHouse.

The library has no writable access storage, so `CREATE USER` is refused: users, their rights and their profiles are
declared here. The same file serves `clickhouse server`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

from tests.engine.replication import HOST as INTERSERVER_HOST

Setting = str | int | float
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HOST = "127.0.0.1"

# Where clickhouse-local, which the library is, differs from a server: it has two of these threads and then throttles
# its merges, and it reads `1 + 1` as a query, so that a test could pass on a forgotten SELECT.
LIKE_A_SERVER: Mapping[str, Setting] = {"background_schedule_pool_size": 16}
LIKE_A_SERVERS_USER: Mapping[str, Setting] = {"implicit_select": 0}

# Each table of each database looks for work of its own some times in a second, though an insert, a mutation or the end
# of a merge wakes it anyway: with a few hundred tables, that is a tenth of all that the tests compute.
IDLE: Mapping[str, Setting] = {
    "background_processing_pool_thread_sleep_seconds_if_nothing_to_do": 10,
    "background_streaming_processing_pool_thread_sleep_seconds_if_nothing_to_do": 10,
}
# What is computed a few times, over a few rows, is not worth a compiler.
NO_COMPILER: Mapping[str, Setting] = {
    "compile_expressions": 0,
    "compile_aggregate_expressions": 0,
    "compile_sort_description": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user with a password. `grants` are whole GRANT statements; None means every right, an empty tuple none."""

    name: str
    password: str
    grants: tuple[str, ...] | None = None
    profile: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What a server needs to hold replicas: a ZooKeeper, and who it is to the others."""

    keeper_port: int
    name: str
    interserver_port: int
    """Where others fetch parts; the library takes its HTTP port for that, at another address."""

    @property
    def settings(self) -> dict[str, Setting]:
        """The settings of the server, by path into the file."""
        return {
            "zookeeper/node/host": HOST,
            "zookeeper/node/port": self.keeper_port,
            # Until the others notice that this one was killed.
            "zookeeper/session_timeout_ms": 2000,
            "macros/shard": "1",
            "macros/replica": self.name,
            "interserver_http_host": HOST,
            "interserver_http_port": self.interserver_port,
            # How long a part is not asked for again that its replica, which was killed, could not give.
            "merge_tree/max_postpone_time_for_failed_replicated_fetches_ms": 200,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A server's users, settings profiles and server settings, over what every test server has.

    The user `default` is always there, without a password and with every right: the oracle and the harness use it.
    A profile named `default` would bind them too; give a hostile profile another name and a user.
    """

    users: tuple[User, ...] = ()
    profiles: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    server: Mapping[str, Setting] = field(default_factory=dict)
    replica: Replica | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one server lives. `identity` lets the harness tell this server from a stranger on the same port."""

    root: Path
    data: Path
    """The tables, and all else that survives a restart."""
    tcp_port: int
    http_port: int
    identity: str

    @property
    def config(self) -> Path:
        """The file that `render` is written to."""
        return self.root / "config.xml"

    @property
    def log(self) -> Path:
        """The engine's own log."""
        return self.root / "server.log"


def render(config: Config, place: Place, kind: Literal["library", "binary"]) -> str:
    """Return the configuration file."""
    root = ET.Element("clickhouse")
    replica = {} if config.replica is None else config.replica.settings
    server = {**base(place), **IDLE, **(LIKE_A_SERVER if kind == "library" else {}), **replica, **config.server}
    for path, value in server.items():
        put(root, path, value)
    if config.replica is not None and kind == "library":
        ET.SubElement(root, "listen_host").text = INTERSERVER_HOST
    profiles = ET.SubElement(root, "profiles")
    default = {
        **NO_COMPILER,
        **(LIKE_A_SERVERS_USER if kind == "library" else {}),
        **config.profiles.get("default", {}),
    }
    for name, settings in {**config.profiles, "default": default}.items():
        add_profile(profiles, name, settings)
    ET.SubElement(ET.SubElement(root, "quotas"), "default")
    users = ET.SubElement(root, "users")
    add_user(users, User(name="default", password=""))
    for user in config.users:
        add_user(users, user)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode")


def base(place: Place) -> dict[str, Setting]:
    """Return what every test server has, by path into the file."""
    return {
        "logger/level": "information",
        "logger/log": str(place.log),
        "path": f"{place.data}/",
        "tmp_path": f"{place.root}/temporary/",
        "user_files_path": f"{place.root}/user_files/",
        "listen_host": HOST,
        "tcp_port": place.tcp_port,
        "http_port": place.http_port,
        "macros/spoolhouse_test_server": place.identity,
        "max_server_memory_usage": 4 << 30,
        "part_log/database": "system",
        "part_log/table": "part_log",
        "user_directories/users_xml/path": str(place.config),
    }


def add_profile(profiles: ET.Element, name: str, settings: Mapping[str, Setting]) -> None:
    """Declare a settings profile."""
    profile = ET.SubElement(profiles, checked(name))
    for setting, value in settings.items():
        put(profile, setting, value)


def add_user(users: ET.Element, user: User) -> None:
    """Declare a user that may come from this machine only."""
    element = ET.SubElement(users, checked(user.name))
    put(element, "password", user.password)
    put(element, "networks/ip", HOST)
    put(element, "profile", user.profile)
    put(element, "quota", "default")
    if user.grants is not None:
        grants = ET.SubElement(element, "grants")
        for grant in user.grants:
            ET.SubElement(grants, "query").text = grant


def put(parent: ET.Element, path: str, value: Setting) -> None:
    """Set the text of the element at a path of names, making the missing ones."""
    element = parent
    for name in path.split("/"):
        found = element.find(checked(name))
        element = ET.SubElement(element, name) if found is None else found
    element.text = str(value)


def checked(name: str) -> str:
    """Return a name that can be an element's; a bad one would make a file that says something else."""
    if not NAME.fullmatch(name):
        raise ValueError(f"not usable as a name in a ClickHouse configuration: {name!r}")
    return name
