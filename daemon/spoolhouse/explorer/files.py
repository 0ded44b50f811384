"""The files of the page, in memory."""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from msgspec import Struct

PAGE = ""
"""The path of the page itself."""
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'; "
    "img-src data:; script-src 'self'; style-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The Content-Security-Policy of all of them. No text can become markup: the types that could are trusted to nobody."""
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_SERVES = 'data-serves=""'


class File(Struct, frozen=True, kw_only=True):
    """One file as it is served."""

    body: bytes
    content_type: str
    packed: bytes
    """The same by gzip."""
    etag: str
    """Another one with each content."""


def _file(body: bytes, kind: str) -> File:
    digest = hashlib.sha256(body).hexdigest()
    return File(body=body, content_type=kind, packed=gzip.compress(body, mtime=0), etag=f'"{digest[:20]}"')


def load(*, has_api: bool, has_daemon: bool, has_metrics: bool, needs_token: bool) -> Mapping[str, File]:
    """Return the files by their path below the page's own address.

    `has_api`: questions are answered there, of those who have a token, if `needs_token`; `has_daemon`: so is a daemon's
    status, and with `has_metrics` what else is for programs. The page shows no more than that.
    """
    found = dict(_read(files(__package__), "explorer/"))
    page = found.pop("explorer/index.html")
    known = {"api": has_api, "daemon": has_daemon, "metrics": has_metrics, "token": has_api and needs_token}
    serves = " ".join(name for name, is_so in known.items() if is_so)
    body = page.body.replace(_SERVES.encode(), f'data-serves="{serves}"'.encode())
    return {PAGE: _file(body, page.content_type), **found}


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, File]]:
    for entry in folder.iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif kind is not None:
            yield f"{prefix}{entry.name}", _file(entry.read_bytes(), kind)
