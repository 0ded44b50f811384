"""An embedded ClickHouse: one process at a time has its folder, and another one is told which that is."""

from pathlib import Path

from tests.process.daemon import Daemon, command, drop, once
from tests.process.inputs import good


def test_a_database_in_use_is_said_to_be_in_use(tmp_path: Path) -> None:
    """Not that its server is too old; and once it is free, it is used."""
    url, spool = f"chdb://{tmp_path}/data", tmp_path / "spool"
    drop(spool, "span", "p", "a.jsonl", good("p", 3))
    with Daemon(url, spool, installed=True) as daemon:
        daemon.wait_for("file_settled")
        for arguments in (["tables"], ["check"], ["migrate", "--check"]):
            done = command(*arguments, "--clickhouse-url", url)
            told = " ".join((done.stdout + done.stderr).split())
            assert done.returncode != 0, told
            assert f"in use by process {daemon.pid}" in told
            assert "recent enough" not in told
            assert "DB::Exception" not in told, "the engine's own words"
        code, other = once(url, tmp_path / "other", installed=True)
        assert code == 69, other.told()
        [record] = other.events("clickhouse_unavailable")
        assert f"in use by process {daemon.pid}" in str(record["error"])
        assert str(record["hint"])
    assert command("tables", "--clickhouse-url", url).returncode == 0
