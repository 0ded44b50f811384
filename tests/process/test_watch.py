"""What the system will not watch is found by scans: no limit of inotify ends the daemon, whenever it is met."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.engine import Database
from tests.process.daemon import Daemon, drop
from tests.process.inputs import good

SPANS = "mastra_admin_spans"
# In a user namespace of its own (CLONE_NEWUSER is 0x10000000) a process has its own limits, which hold for it alone.
LIMITED = """
import ctypes, pathlib
group, user = os.getgid(), os.getuid()
assert ctypes.CDLL(None).unshare(0x10000000) == 0
pathlib.Path("/proc/self/setgroups").write_text("deny")
pathlib.Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
pathlib.Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
pathlib.Path("/proc/sys/user/LIMIT").write_text("COUNT")
"""


@pytest.mark.parametrize(
    ("limit", "count"),
    [
        pytest.param("max_inotify_instances", 0, id="no watcher"),
        pytest.param("max_inotify_watches", 0, id="no watch"),
        pytest.param("max_inotify_watches", 30, id="too few watches for what comes later"),
    ],
)
def test_a_limit_of_inotify_is_reported_and_leaves_the_scans(
    limit: str, count: int, database: Database, tmp_path: Path
) -> None:
    prelude = "import os" + LIMITED.replace("LIMIT", limit).replace("COUNT", str(count))
    with Daemon(database.native_url, tmp_path, prelude=prelude, http="any port") as daemon:
        daemon.wait_for("started")
        for number in range(40):
            drop(tmp_path, "span", f"p{number}", "a.jsonl", good(f"p{number}"))
        daemon.wait_for("file_settled", count=40)
        (told, *_) = daemon.wait_for("watch_unavailable")
        assert "fs.inotify.max_user_watches" in str(told["hint"])
        assert "fs.inotify.max_user_watches" in json.loads(daemon.get("/status").body)["backlog"]["unwatched"]
        drop(tmp_path, "span", "last", "a.jsonl", good("last"))
        daemon.wait_for("file_settled", path="span/last/a.jsonl")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
        assert not daemon.events("stage_failed"), daemon.told()
    assert database.query(f"SELECT count() FROM {SPANS}") == [(41,)]


def test_a_spool_whose_own_name_is_no_utf8_is_scanned(database: Database, tmp_path: Path) -> None:
    spool = tmp_path / os.fsdecode(b"\xff")
    with Daemon(database.native_url, spool) as daemon:
        daemon.wait_for("started")
        drop(spool, "span", "p", "a.jsonl", good("p"))
        daemon.wait_for("file_settled")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0, daemon.told()
    assert database.query(f"SELECT count() FROM {SPANS}") == [(1,)]
