"""The wheel: built, installed into an empty environment, and used there with the sources out of the way.

It runs on each Python of those that we support which this machine has.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from email.parser import Parser
from pathlib import Path

import pytest

from tests.engine import Database

ROOT = Path(__file__).parents[2]
SUPPORTED = ("3.11", "3.12", "3.13")
_PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def pythons() -> Mapping[str, str]:
    """Return the path of each supported Python that is there and can make environments, by version."""
    found = {}
    for version in SUPPORTED:
        for path in candidates(version):
            look = f"import venv, ensurepip, sys; assert sys.version_info[:2] == (3, {version[2:]})"
            if subprocess.run([path, "-c", look], capture_output=True, check=False).returncode == 0:
                found[version] = path
                break
    return found


def candidates(version: str) -> Iterator[str]:
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
    # Before its shims, which are slow, and refuse a version that nobody has switched on.
    yield from map(str, sorted(_PYENV.glob(f"versions/{version}.*/bin/python")))
    if (path := shutil.which(f"python{version}")) is not None:
        yield path


PYTHONS = pythons()


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path) -> str:
    """Run a command that has to succeed, without any trace of this process's own environment; return its output."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        command, cwd=cwd, env={**clean, **(env or {})}, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    [built] = folder.glob("spoolhouse-*.whl")
    return built


@pytest.fixture(scope="module")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Future[Path]]]:
    """An environment of each Python with the wheel in it; made side by side, because pip mostly waits."""
    folder = tmp_path_factory.mktemp("environments")
    with ThreadPoolExecutor() as pool:
        yield {version: pool.submit(environment, path, folder / version, wheel) for version, path in PYTHONS.items()}


def environment(python: str, folder: Path, wheel: Path) -> Path:
    run(python, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    # Not compiled: what is used once is compiled when it is used.
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-compile", f"{wheel}[daemon]", cwd=folder.parent)
    return folder


def test_this_python_is_among_them() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS


def test_what_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [about] = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(about).decode())
    package = ROOT / "daemon" / "spoolhouse"
    sources = {
        f"spoolhouse/{path.relative_to(package)}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("spoolhouse/")} == sources
    shared = {re.sub(r"^.*/share/spoolhouse/", "", name) for name in names if "/share/spoolhouse/" in name}
    given = [(folder, path) for folder in (ROOT / "config", ROOT / "systemd") for path in folder.rglob("*")]
    assert shared == {path.relative_to(folder).as_posix() for folder, path in given if path.is_file()}
    rest = {name.split("/")[0] for name in names} - {"spoolhouse"}
    assert all(re.fullmatch(r"spoolhouse-[\d.]+\.(dist-info|data)", folder) for folder in rest), "no tests, no daemon/"
    assert set(metadata.get_all("Provides-Extra", [])) == {"daemon", "dev", "embedded", "otel", "replicas"}
    assert metadata["Requires-Python"] == ">=3.11"


@pytest.mark.timeout(360)
@pytest.mark.parametrize("version", PYTHONS)
def test_it_works_in_an_empty_environment(
    environments: Mapping[str, Future[Path]], database: Database, tmp_path: Path, version: str
) -> None:
    """Sample files land and can be seen, and nothing of it comes from the sources."""
    venv, storage = environments[version].result(), tmp_path / "spool"
    where = run(venv / "bin" / "python", "-c", "import spoolhouse; print(spoolhouse.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(venv)
    assert (venv / "share" / "spoolhouse" / "spoolhouse.service").exists()

    script = venv / "bin" / "spoolhouse"
    settings = {
        "SPOOLHOUSE_SPOOL__STORAGE_PATH": str(storage),
        "SPOOLHOUSE_CLICKHOUSE__URL": database.native_url,
        "SPOOLHOUSE_CONFIG": "",
    }
    run(script, "generate", "--rows", "2000", "--files", "7", "--types", "span,log", env=settings, cwd=tmp_path)
    written = sum(path.read_bytes().count(b"\n") for path in storage.rglob("*.jsonl"))
    run(script, "ingest", "--once", env=settings, cwd=tmp_path)
    assert sum(path.parent.name == "processed" for path in storage.rglob("*.jsonl")) == 7
    tables = json.loads(run(script, "tables", "--json", env=settings, cwd=tmp_path))
    landed = {table["table"].removeprefix("mastra_admin_"): table["rows"] for table in tables}
    assert landed["spans"] + landed["logs"] == written == 2000
    over_http = {**settings, "SPOOLHOUSE_CLICKHOUSE__URL": database.http_url}
    run(script, "migrate", "--check", env=over_http, cwd=tmp_path)
