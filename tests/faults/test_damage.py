"""A DuckDB file, or its log, is damaged after a crash: nothing is taken for landed, and all of it lands in the end."""

import shutil
from pathlib import Path

import pytest

from tests.faults.file_oracle import FileOracle
from tests.faults.life import QUICK, feed, recover, run_into
from tests.process.daemon import once


@pytest.mark.parametrize("oracle", ["duckdb"], indirect=True)
@pytest.mark.parametrize("suffix", ["", ".wal"], ids=["file", "log"])
def test_a_file_is_damaged_and_restored(oracle: FileOracle, tmp_path: Path, suffix: str) -> None:
    feed(oracle)
    run_into(oracle, "duckdb.committed", "kill")
    folder, kept = oracle.file.path.parent, tmp_path / "kept"
    shutil.copytree(folder, kept)
    part = folder / f"{oracle.file.path.name}{suffix}"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    claimed = len(oracle.claimed())
    code, daemon = once(oracle.store.native_url, oracle.spool, env=QUICK)
    assert code == 69, daemon.told()
    [record] = daemon.events("duckdb_unavailable")
    assert "restore the file" in str(record["hint"]), record
    assert (part.read_bytes(), len(oracle.claimed())) == (bytes(content), claimed)
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    recover(oracle)
    oracle.check()
