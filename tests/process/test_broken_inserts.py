"""Inserts into one table break off, while the server answers all else."""

import asyncio
import json
from pathlib import Path

from tests.contract.proxy import proxy_to
from tests.engine import Database
from tests.process.daemon import Daemon, drop, lines
from tests.process.inputs import NOW, good

PREFIX = "mastra_admin_"
LOG = {"type": "log", "id": "l", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}
QUICK = {"SPOOLHOUSE_RETRY__FIRST": "0.05", "SPOOLHOUSE_RETRY__CAP": "0.5"}


async def test_they_hold_their_own_table_alone(database: Database, tmp_path: Path) -> None:
    endpoint = database.server.endpoint
    async with proxy_to("127.0.0.1", endpoint.tcp_port) as proxy:
        proxy.cuts = f"INSERT INTO `{PREFIX}logs`".encode()
        url = database.native_url.replace(f":{endpoint.tcp_port}", f":{proxy.port}")

        def run() -> None:
            with Daemon(url, tmp_path, http="any port", env=QUICK) as daemon:
                drop(tmp_path, "log", "p", "a.jsonl", lines([LOG]))
                daemon.wait_for("table_held", scope=f"{PREFIX}logs")
                drop(tmp_path, "span", "p", "b.jsonl", good("p", 5))
                daemon.wait_for("file_settled", path="span/p/b.jsonl")
                [reason] = json.loads(daemon.get("/readyz").body)["reasons"]
                assert (reason["types"], reason["held"]) == (["log"], True)
                proxy.cuts = b""
                daemon.wait_for("file_settled", path="log/p/a.jsonl")
                daemon.wait_for("table_released", scope=f"{PREFIX}logs")

        await asyncio.to_thread(run)
    assert database.query(f"SELECT count() FROM {PREFIX}logs") == [(1,)]
