"""A producer's process that forks, or meets a full disk: each event is shown once, or thrown away as it was told."""

import subprocess
import sys
from pathlib import Path

import pytest

_HEAD = """
import os, resource, sys
from pathlib import Path
from spoolhouse.export import SpoolWriter

root = Path(sys.argv[1])
"""

_CHILDREN = {
    "leaves the block": "pass",
    "flushes": "spool.flush()",
    "writes events of its own": "spool.write('span', 'shop', [{'id': 'child'}])",
    "discards": "spool.discard()",
    "raises": "raise SystemExit",
    "drops the writer": "del spool; import gc; gc.collect(); os._exit(0)",
}


def run(script: str, root: Path) -> str:
    """Run a producer to its end; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", _HEAD + script, str(root)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(root: Path) -> list[str]:
    """Return the lines of all files that a daemon would take."""
    return sorted(
        line for path in root.rglob("*.jsonl") if path.name[0] != "." for line in path.read_text().splitlines()
    )


@pytest.mark.parametrize("child", _CHILDREN)
def test_a_fork_shows_no_event_twice(child: str, tmp_path: Path) -> None:
    """What was written before the fork is the parent's alone; the child's own events are in a file of its own."""
    script = f"""
with SpoolWriter(root) as spool:
    spool.write("span", "shop", [{{"id": number}} for number in range(3)])
    pid = os.fork()
    if pid == 0:
        {_CHILDREN[child]}
    else:
        os.waitpid(pid, 0)
        spool.write("span", "shop", [{{"id": 3}}])
"""
    run(script, tmp_path)
    own = ['{"id":"child"}'] if "own" in child else []
    assert shown(tmp_path) == sorted([f'{{"id":{number}}}' for number in range(4)] + own)
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []


@pytest.mark.parametrize("ending", ["flush", "leave", "write"])
def test_what_was_thrown_away_is_not_shown_later(ending: str, tmp_path: Path) -> None:
    """The limit on the size of files stands for a full disk; it is lifted before the writer goes on."""
    more = {"flush": "spool.flush()", "leave": "pass", "write": "spool.write('span', 'shop', [{'id': 'later'}])"}
    script = f"""
none = resource.RLIM_INFINITY
with SpoolWriter(root) as spool:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, none))
    try:
        spool.write("span", "shop", [{{"id": number, "text": "x" * 1000}} for number in range(1000)])
    except OSError as error:
        print("said:", error.strerror)
    resource.setrlimit(resource.RLIMIT_FSIZE, (none, none))
    {more[ending]}
"""
    assert run(script, tmp_path) == "said: File too large\n"
    assert shown(tmp_path) == (['{"id":"later"}'] if ending == "write" else [])
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []


def test_a_block_whose_end_fails_leaves_nothing_hidden(tmp_path: Path) -> None:
    script = """
none = resource.RLIM_INFINITY
try:
    with SpoolWriter(root) as spool:
        for project in ("a", "b", "c"):
            spool.write("span", project, [{"id": project}])
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, none))
except OSError as error:
    print("said:", error.strerror)
"""
    assert run(script, tmp_path) == "said: File too large\n"
    assert shown(tmp_path) == []
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []
