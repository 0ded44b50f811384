"""The files of the page, in memory."""

import gzip
import hashlib
from collections.abc import Collection, Iterator, Mapping
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


def load(serves: Collection[str]) -> Mapping[str, File]:
    """Return the files by their path below the page's own address.

    `serves` is what can be had there, and the page shows no more: `api`: answers to questions; `token`: only for those
    who have one; `write`: scores and feedback are taken; `daemon`: a daemon's status; `metrics`: its metrics.
    """
    found = dict(_read(files(__package__), "explorer/"))
    page = found.pop("explorer/index.html")
    body = page.body.replace(_SERVES.encode(), f'data-serves="{" ".join(sorted(serves))}"'.encode())
    return {PAGE: _file(body, page.content_type), **found}


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, File]]:
    for entry in folder.iterdir():
        kind = _TYPES.get(entry.name.rpartition(".")[2])
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif kind is not None:
            yield f"{prefix}{entry.name}", _file(entry.read_bytes(), kind)
