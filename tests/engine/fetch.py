"""Find the ClickHouse engine, or fetch it once for all checkouts.

A `clickhouse` binary on PATH wins. Else `libchdb.so`, which holds a whole ClickHouse server, comes from an npm package
at a pinned version. A missing engine is an error that names what to install: tests that need it fail, never skip.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

VERSION = "26.7.3-stable.1"
LIBRARY = "libchdb.so"
FETCH_SECONDS = 900
SHA512 = "sha512-"
REMEDY = (
    "the tests need a real ClickHouse: install npm (the engine is fetched with it), or put a `clickhouse` binary "
    "on PATH, or set SPOOLHOUSE_TEST_CLICKHOUSE_URL=clickhouse://user:password@host:9000?http_port=8123"
)


class EngineError(Exception):
    """No ClickHouse can be had, or it did not start; the message says what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One npm package; `integrity` is the registry's own sha512 of it."""

    name: str
    integrity: str | None
    version: str = VERSION

    @property
    def spec(self) -> str:
        """What `npm pack` is asked for."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Something that can be started as a server: the library, or an installed `clickhouse`."""

    kind: Literal["library", "binary"]
    path: Path


X86_64 = Package(
    name="@chdb/lib-linux-x64-gnu",
    integrity="sha512-XP97mMqnc5tZpKQywR8N7cLTsHNiTmHr30pC5mzo3jWmukjKn2IBa60c2B/gWUNcuFjOMjWoorQICCqBVj5wpw==",
)
# Not pinned by content: npm's own check against the registry is all there is, until someone pins what they have tested.
ARM64 = Package(name="@chdb/lib-linux-arm64-gnu", integrity=None)
PACKAGES = {"x86_64": X86_64, "amd64": X86_64, "aarch64": ARM64, "arm64": ARM64}


def find_engine(announce: Callable[[str], None] | None = None) -> Engine:
    """Return an engine to start servers with, fetching it if this machine has none; say so before a download."""
    binary = shutil.which("clickhouse")
    if binary:
        return Engine(kind="binary", path=Path(binary))
    return Engine(kind="library", path=fetched_library(announce))


def fetched_library(announce: Callable[[str], None] | None = None) -> Path:
    """Return the path of the cached library; the first caller fetches it, concurrent ones wait for that."""
    machine = platform.machine().lower()
    package = PACKAGES.get(machine)
    if platform.system() != "Linux" or package is None:
        raise EngineError(f"no engine package for {platform.system()} on {machine}; {REMEDY}")
    folder = cache_folder() / VERSION / machine
    library = folder / LIBRARY
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / "lock"):
            if not library.exists():
                if announce is not None:
                    announce(f"fetching ClickHouse, {package.spec}, once: about 180 MB, 570 MB in {folder}")
                fetch(package, library)
    return library


def cache_folder() -> Path:
    """Return the cache's place outside the tree, so that `make clean` and fresh clones keep it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "spoolhouse-tests"


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the kernel frees it if this process dies."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def fetch(package: Package, library: Path) -> None:
    """Download, check and unpack the library; it appears under its name complete or not at all."""
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=library.parent) as name:
        folder = Path(name)
        tarball = npm_pack(package, folder)
        check(package, tarball)
        unpacked = folder / LIBRARY
        with tarfile.open(tarball) as archive:
            # Only this one member is read, and only its bytes: no path from the archive reaches the file system.
            source = archive.extractfile(f"package/{LIBRARY}")
            if source is None:
                raise EngineError(f"{package.spec} holds no {LIBRARY}")
            with source, unpacked.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        unpacked.replace(library)


def npm_pack(package: Package, folder: Path) -> Path:
    """Have npm download the package into the folder, so that its own registry and proxy settings apply."""
    npm = shutil.which("npm")
    if npm is None:
        raise EngineError(f"npm is missing; {REMEDY}")
    command = [npm, "pack", package.spec, "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"npm pack {package.spec} took over {FETCH_SECONDS} s; {REMEDY}") from error
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        raise EngineError(f"npm pack {package.spec} failed: {done.stderr.strip() or done.stdout.strip()}; {REMEDY}")
    return tarballs[0]


def check(package: Package, tarball: Path) -> None:
    """Refuse a download whose content is not the one that was pinned."""
    if package.integrity is None:
        return
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    found = SHA512 + base64.b64encode(digest).decode()
    if not hmac.compare_digest(found, package.integrity):
        raise EngineError(f"{package.spec} has the checksum {found}, pinned is {package.integrity}: do not use it")
