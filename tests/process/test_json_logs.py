"""Logs of other libraries as they are: they land from `log/`, and the file is verified by another process."""

import json
from datetime import timedelta
from pathlib import Path

from tests.engine import Database
from tests.process.daemon import command, drop, once
from tests.process.inputs import NOW

LOGS = "mastra_admin_logs"
TIME = NOW - timedelta(minutes=1)
MS = int(TIME.timestamp() * 1000)
PINO = {"level": 50, "time": MS, "pid": 4, "hostname": "h", "msg": "not paid", "err": {"type": "RangeError"}}
PYTHON = {
    "asctime": f"{TIME:%Y-%m-%d %H:%M:%S},{MS % 1000:03}",
    "levelname": "CRITICAL",
    "name": "shop",
    "message": "slow",
}
ZAP = {"level": "warn", "ts": MS / 1000, "caller": "a.go:3", "msg": "slow", "trace_id": "t1"}
ECS = {
    "@timestamp": TIME.isoformat(),
    "log.level": "info",
    "message": "ordered",
    "trace": {"id": "t2"},
    "log": {"logger": "x"},
}
OURS = {"type": "log", "id": "l1", "level": "info", "message": "ours", "timestamp": TIME.isoformat(), "color": "red"}
TIMELESS = {"level": "info", "msg": "no time"}


def test_logs_of_several_libraries_and_ours_land_from_one_file(database: Database, tmp_path: Path) -> None:
    some = [PINO, PYTHON, OURS, ZAP, TIMELESS, ECS]
    path = drop(tmp_path, "log", "p", "app.LOG", b"".join(json.dumps(one).encode() + b"\n" for one in some * 20))
    code, daemon = once(database.http_url, tmp_path)
    assert code == 0, daemon.told()
    found = database.query(
        f"SELECT message, level, toUnixTimestamp64Milli(timestamp), trace_id, attributes, extra, count(), uniqExact(id)"
        f" FROM {LOGS} GROUP BY ALL ORDER BY message, level"
    )
    pino = {key: PINO[key] for key in ("level", "pid", "hostname", "err")}
    expected = [
        ("not paid", "error", None, pino, {}, 20),
        ("ordered", "info", "t2", {"log": {"logger": "x"}}, {}, 20),
        ("ours", "info", None, {}, {"color": "red"}, 1),
        ("slow", "warn", "t1", {"caller": "a.go:3"}, {}, 20),
        ("slow", "fatal", None, {"levelname": "CRITICAL", "name": "shop"}, {}, 20),
    ]
    assert [
        (message, level, trace, json.loads(str(attributes)), json.loads(str(extra)), ids)
        for message, level, _, trace, attributes, extra, _, ids in found
    ] == expected
    assert {(time, count) for _, _, time, _, _, _, count, _ in found} == {(MS, 20)}
    [record] = daemon.events("file_settled")
    assert record["rejected"] == 20
    [rejects] = (tmp_path / "rejected").rglob("*.jsonl")
    reject = json.loads(rejects.read_bytes().splitlines()[0])
    assert (reject["reason"], reject["line"]) == ("missing_field", 5)
    assert "@timestamp" in reject["detail"]
    where = ("--file-storage-path", str(tmp_path), "--base-path", "", "--clickhouse-url", database.http_url)
    done = command("verify", str(path.parent / "processed" / path.name), *where)
    assert done.returncode == 0, done.stdout + done.stderr
