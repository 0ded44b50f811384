"""What is installed with which extra: the writers need nothing, a command says what it needs."""

import subprocess
import sys
from pathlib import Path

import spoolhouse

SOURCE = str(Path(spoolhouse.__file__).parents[1])


def bare(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program without site-packages: the standard library and our sources are all there is."""
    head = f"import sys\nsys.path.insert(0, {SOURCE!r})\n"
    command = [sys.executable, "-I", "-S", "-c", head + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_writers_need_the_standard_library_alone(tmp_path: Path) -> None:
    script = """
import asyncio
from spoolhouse.export import AsyncSpoolWriter, SpoolWriter
async def main():
    async with AsyncSpoolWriter(sys.argv[1]) as spool:
        await spool.write("log", "shop", {"message": "a"})
asyncio.run(main())
with SpoolWriter(sys.argv[1]) as spool:
    spool.create_score("shop", {"value": 1})
try:
    SpoolWriter(sys.argv[1], validate=True)
except ModuleNotFoundError as error:
    print(error)
"""
    done = bare(script, str(tmp_path))
    assert done.stdout == "validate=True needs msgspec: pip install 'spoolhouse[daemon]'\n"
    assert done.stderr == ""
    assert len(list(tmp_path.rglob("*.jsonl"))) == 2


def test_a_command_without_its_packages_names_the_extra() -> None:
    done = bare("from spoolhouse.cli import main; sys.exit(main(sys.argv[1:]))", "status")
    assert done.returncode == 1
    assert done.stderr == "spoolhouse: a command needs structlog: pip install 'spoolhouse[daemon]'\n"
