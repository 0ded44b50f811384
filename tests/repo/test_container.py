"""Dockerfile and compose.yaml agree with the program; `make check-image` builds the image and runs it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from spoolhouse.settings import Settings
from tests.engine import Config, StartServer, User
from tests.engine.server import free_ports
from tests.process.daemon import SCRIPT, Daemon, get

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = (ROOT / "config" / "compose.yaml").read_text()
SERVICES: Mapping[str, Any] = yaml.safe_load(COMPOSE)["services"]
VARIABLES = {f"SPOOLHOUSE_{name.replace('.', '__').upper()}" for name in Settings.names()}


def listed(pattern: str) -> list[str]:
    """Return the JSON list that follows a pattern: the exec form."""
    [found] = re.findall(rf"^\s*{pattern}\s+(\[.*\])$", DOCKERFILE, re.MULTILINE)
    value = json.loads(found)
    assert isinstance(value, list)
    return value


def test_the_command_is_the_daemon_without_a_shell() -> None:
    assert listed("ENTRYPOINT") == ["spoolhouse"]
    assert listed("CMD") == ["ingest"]


def test_it_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE) == [("10001", "10001")]


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE], ids=["Dockerfile", "compose.yaml"])
def test_its_settings_exist(text: str) -> None:
    given = set(re.findall(r"\bSPOOLHOUSE_[A-Z_]+", text))
    assert given
    assert given <= VARIABLES


def test_what_it_copies_reaches_the_build() -> None:
    """`.dockerignore` leaves everything out that it does not name."""
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = {
        name.removeprefix("./")
        for names in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for name in names.split()
    }
    assert copied == set(kept)


def environment_of(service: str) -> dict[str, str]:
    """Return what a container gets: the image's variables, and those of the example, where nothing is exported."""
    declared = {**image_environment(), **SERVICES[service].get("environment", {})}
    return {name: re.sub(r"\$\{\w+:-(\w+)\}", r"\1", value) for name, value in declared.items()}


def image_environment() -> dict[str, str]:
    [variables] = re.findall(r"^ENV (.+)$", DOCKERFILE, re.MULTILINE)
    return dict(re.findall(r"(SPOOLHOUSE_\w+)=(\S*)", variables))


def test_every_port_is_published_on_loopback() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_published_port_is_where_the_daemon_listens() -> None:
    [published] = SERVICES["spoolhouse"]["ports"]
    assert environment_of("spoolhouse")["SPOOLHOUSE_HTTP__LISTEN"] == f"0.0.0.0:{published.split(':')[2]}"


def test_nothing_has_to_be_exported_first() -> None:
    assert [text for text in re.findall(r"\$\{[^}]*\}", COMPOSE) if ":-" not in text] == []


def test_the_services_share_what_they_have_to() -> None:
    daemon, server = environment_of("spoolhouse"), environment_of("clickhouse")
    assert daemon["SPOOLHOUSE_CLICKHOUSE__USERNAME"] == server["CLICKHOUSE_USER"]
    assert daemon["SPOOLHOUSE_CLICKHOUSE__PASSWORD"] == server["CLICKHOUSE_PASSWORD"]
    assert urlsplit(daemon["SPOOLHOUSE_CLICKHOUSE__URL"]).hostname in SERVICES
    spool = daemon["SPOOLHOUSE_SPOOL__STORAGE_PATH"]
    assert SERVICES["spoolhouse"]["volumes"] == SERVICES["producer"]["volumes"] == [f"spool:{spool}"]


def test_the_quick_start_lands_what_its_producer_writes(start_server: StartServer, tmp_path: Path) -> None:
    """Its commands and its environment, with another place for the spool, the server and the port."""
    environment = environment_of("spoolhouse")
    user, password = environment["SPOOLHOUSE_CLICKHOUSE__USERNAME"], environment["SPOOLHOUSE_CLICKHOUSE__PASSWORD"]
    server = start_server(Config(users=(User(name=user, password=password),)))
    port = free_ports()[0]
    environment["SPOOLHOUSE_HTTP__LISTEN"] = environment["SPOOLHOUSE_HTTP__LISTEN"].replace(":9464", f":{port}")
    url = environment.pop("SPOOLHOUSE_CLICKHOUSE__URL").replace("clickhouse:9000", urlsplit(server.native_url).netloc)
    [program] = listed("ENTRYPOINT")
    producing = subprocess.Popen(
        [str(SCRIPT.with_name(program)), *SERVICES["producer"]["command"]],
        env={**os.environ, **environment_of("producer"), "SPOOLHOUSE_SPOOL__STORAGE_PATH": str(tmp_path)},
        stdout=subprocess.DEVNULL,
    )
    try:
        with Daemon(url, tmp_path, env=environment, installed=True) as daemon:
            [settled] = daemon.wait_for("file_settled")[:1]
            assert settled["rejected"] == 0
            page = get(f"http://localhost:{port}/")
            assert (page.code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            assert health_check(environment["SPOOLHOUSE_HTTP__LISTEN"]) == 0
    finally:
        producing.kill()
        producing.wait()


def test_a_container_is_killed_after_the_grace() -> None:
    [seconds] = re.findall(r"stop_grace_period: (\d+)s", COMPOSE)
    [stop_timeout] = re.findall(r"--stop-timeout (\d+)", DOCKERFILE)
    assert int(seconds) == int(stop_timeout) >= Settings().shutdown.grace + 10


def health_check(listen: str) -> int:
    """Run the health check's command; return its exit code."""
    [found] = re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    program, *arguments = json.loads(found)
    assert program == "python"
    environment = {**os.environ, "SPOOLHOUSE_HTTP__LISTEN": listen}
    return subprocess.run([sys.executable, *arguments], env=environment, check=False, stderr=subprocess.PIPE).returncode


def test_healthy_is_a_daemon_that_waits_for_clickhouse_and_not_one_that_is_gone(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_ports()[0]}"
    assert health_check(listen) == 1
    with Daemon("clickhouse://127.0.0.1:1", tmp_path, env={"SPOOLHOUSE_HTTP__LISTEN": listen}) as daemon:
        daemon.wait_for("clickhouse_unavailable")
        assert health_check(listen) == 0


def test_one_that_serves_nothing_cannot_be_asked() -> None:
    assert health_check("off") == 0
