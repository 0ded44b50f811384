"""Two servers that share a ZooKeeper."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.engine import Config, LocalServer, Replica, find_engine, free_ports
from tests.replicas.replicated import CLUSTER
from tests.replicas.zookeeper import ZooKeeper


@pytest.fixture(scope="session")
def started_replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalServer, LocalServer]]:
    """Two servers that share a ZooKeeper; take `replicas` instead."""
    with ExitStack() as stack:
        keeper = ZooKeeper(tmp_path_factory.mktemp("zookeeper"))
        stack.callback(keeper.stop)
        keeper.start()
        ports = {name: (*free_ports(), free_ports()[0]) for name in ("a", "b")}
        cluster = {
            f"remote_servers/{CLUSTER}/shard/internal_replication": "true",
            **{
                f"remote_servers/{CLUSTER}/shard/replica_{name}/{key}": value
                for name, (tcp, _, _) in ports.items()
                for key, value in (("host", "127.0.0.1"), ("port", tcp))
            },
        }
        servers = []
        for name, (tcp, http, interserver) in ports.items():
            replica = Replica(keeper_port=keeper.port, name=name, interserver_port=interserver)
            config = Config(server=cluster, replica=replica)
            server = LocalServer(find_engine(), tmp_path_factory.mktemp(f"replica_{name}"), config)
            server.endpoint = replace(server.endpoint, tcp_port=tcp, http_port=http)
            stack.callback(server.stop)
            server.start()
            servers.append(server)
        first, second = servers
        yield first, second


@pytest.fixture
def replicas(started_replicas: tuple[LocalServer, LocalServer]) -> tuple[LocalServer, LocalServer]:
    """Two running servers that share a ZooKeeper, with the macros shard and replica: they may be killed."""
    for server in started_replicas:
        if not server.is_running:
            server.start()
    return started_replicas
