"""axe-core, which finds what people who cannot see or click would stumble over: from npm, at a pinned checksum."""

import tarfile
import tempfile
from pathlib import Path

from tests.engine.fetch import Package, alone, cache_folder, check, npm_pack

PACKAGE = Package(
    name="axe-core",
    version="4.10.3",
    integrity="sha512-Xm7bpRXnDSX2YE2YFfBk2FnF0ep6tmG7xPh8iHee8MIcrgq762Nkce856dYtJYLkuIoYZvGfTs/PbZhideTcEg==",
)
_SCRIPT = "package/axe.min.js"


def script() -> str:
    """Return the script, fetching it once for all checkouts."""
    folder = cache_folder() / f"axe-{PACKAGE.version}"
    found = folder / "axe.min.js"
    if not found.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / "lock"), tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as name:
            tarball = npm_pack(PACKAGE, Path(name))
            check(PACKAGE, tarball)
            with tarfile.open(tarball) as archive:
                archive.extract(_SCRIPT, name, filter="data")
            (Path(name) / _SCRIPT).replace(found)
    return found.read_text(encoding="utf-8")
