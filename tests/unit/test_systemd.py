"""The notify protocol, spoken over a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from spoolhouse.monitoring.systemd import Notifier


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(tmp_path / "notify"))
        service_manager.settimeout(5)
        yield service_manager


def notifier(service_manager: socket.socket, **environment: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": str(service_manager.getsockname()), **environment})


def fields(service_manager: socket.socket) -> dict[str, str]:
    lines = service_manager.recv(65536).decode().split("\n")
    return dict(line.split("=", 1) for line in lines)


def test_without_a_socket_nothing_is_wanted_and_nothing_fails() -> None:
    nobody = Notifier({"WATCHDOG_USEC": "1000000"})
    assert not nobody.wanted
    assert nobody.watchdog is None
    nobody.ready("well")
    nobody.alive("well", stuck=False)
    nobody.stopping(25, "stopping")


def test_ready_reload_and_stop(heard: socket.socket) -> None:
    told = notifier(heard)
    told.ready("3 files waiting")
    assert fields(heard) == {"READY": "1", "STATUS": "3 files waiting"}
    told.reloading()
    reloading = fields(heard)
    assert reloading.pop("MONOTONIC_USEC").isdecimal()
    assert reloading == {"RELOADING": "1"}
    told.stopping(25, "Stopping")
    assert fields(heard) == {"STOPPING": "1", "EXTEND_TIMEOUT_USEC": "35000000", "STATUS": "Stopping"}


def test_an_abstract_socket() -> None:
    name = f"spoolhouse-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(f"\0{name}")
        service_manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready("well")
        assert fields(service_manager)["READY"] == "1"


def test_a_status_is_told_once_and_is_one_line(heard: socket.socket) -> None:
    told = notifier(heard)
    told.alive("one\nSTOPPING=1", stuck=False)
    assert fields(heard) == {"STATUS": "one\\nSTOPPING=1"}
    told.alive("one\nSTOPPING=1", stuck=False)
    told.alive("two", stuck=False)
    assert fields(heard) == {"STATUS": "two"}


def test_a_stuck_stage_ends_the_signs_of_life_but_not_the_status(heard: socket.socket) -> None:
    told = notifier(heard, WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid()))
    assert told.watchdog == 3
    assert told.period == 1
    told.alive("well", stuck=False)
    assert fields(heard) == {"STATUS": "well", "WATCHDOG": "1"}
    told.alive("stuck", stuck=True)
    assert fields(heard) == {"STATUS": "stuck"}
    told.alive("stuck", stuck=True)
    told.alive("stuck", stuck=False)
    assert fields(heard) == {"WATCHDOG": "1"}


@pytest.mark.parametrize("usec", ["", "0", "-1", "soon"])
def test_no_watchdog_without_a_time(heard: socket.socket, usec: str) -> None:
    assert notifier(heard, WATCHDOG_USEC=usec).watchdog is None


def test_another_process_s_watchdog_is_not_served(heard: socket.socket) -> None:
    assert notifier(heard, WATCHDOG_USEC="1000000", WATCHDOG_PID="1").watchdog is None


def fill(service_manager: socket.socket) -> int:
    """Send to it until there is no room; return how many messages that took."""
    count = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as noisy:
        noisy.settimeout(0)
        while True:
            try:
                noisy.sendto(b"NOISE=1", service_manager.getsockname())
            except BlockingIOError:
                return count
            count += 1


def test_what_finds_a_full_queue_is_told_later(heard: socket.socket) -> None:
    told = notifier(heard)
    noise = fill(heard)
    told.ready("well")
    for _ in range(noise):
        assert fields(heard) == {"NOISE": "1"}
    told.alive("better", stuck=False)
    assert fields(heard) == {"READY": "1", "STATUS": "better"}


@pytest.mark.parametrize("name", ["/nowhere/notify", "vsock:2:1234"])
def test_a_socket_that_is_not_there_is_said_once(name: str) -> None:
    with capture_logs() as logs:
        told = Notifier({"NOTIFY_SOCKET": name})
        told.ready("well")
        told.alive("better", stuck=False)
    [record] = logs
    assert record["event"] == "notify_failed"
