"""The files of a spool, read over any storage, without a daemon. It needs `spoolhouse[daemon]`."""

import bz2
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import IO, Any

import zstandard
from msgspec import Struct, field

from spoolhouse.clock import now_ms
from spoolhouse.decode.explain import Explainer, Rejection
from spoolhouse.decode.origin import Origin
from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.shapes import SHAPES
from spoolhouse.export.storages import new_batch
from spoolhouse.export.store_storage import StoreStorage
from spoolhouse.file_names import FileNames
from spoolhouse.spool.layout import PENDING_DEPTH, REJECTED, Encoding, encoding
from spoolhouse.spool.storage import FileStorageProvider

_OPENERS: dict[Encoding, Callable[[IO[bytes]], Any]] = {
    Encoding.PLAIN: lambda file: file,
    Encoding.GZIP: lambda file: gzip.GzipFile(fileobj=file),
    Encoding.ZSTD: lambda file: zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True),
    Encoding.BZIP2: bz2.BZ2File,
    Encoding.XZ: lzma.LZMAFile,
}


class ParsedEvent(Struct, frozen=True, kw_only=True):
    """A line that would land."""

    type: str
    data: dict[str, Any]
    line: int
    """Its number, from 1."""


class LineError(Struct, frozen=True, kw_only=True):
    """A line that would be rejected."""

    line: int
    error: str


class FileMetadata(Struct, frozen=True, kw_only=True):
    """What a file's path says."""

    type: str
    project_id: str
    timestamp: str
    """The part of its name before `_`."""


class FileProcessingResult(Struct, frozen=True, kw_only=True):
    """The lines of a file."""

    file_path: str
    events: list[ParsedEvent] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)
    metadata: FileMetadata | None = None
    """None for a path that is not `…/{type}/{project}/{name}`."""


def list_pending_files(
    storage: FileStorageProvider,
    base_path: str = "observability",
    *,
    project_id: str | None = None,
    event_type: str | None = None,
    limit: int | None = None,
) -> list[str]:
    """Return the paths of the files that a daemon would take, the oldest first. Raises OSError."""
    base, names = PurePosixPath(base_path), FileNames()
    found: list[str] = []
    for file in storage.list(f"{base}/" if base.parts else ""):
        parts = PurePosixPath(file.path).relative_to(base).parts
        if len(parts) != PENDING_DEPTH or parts[0] == REJECTED or not names.take(parts[0], parts[2]):
            continue
        if (event_type or parts[0]) == parts[0] and (project_id or parts[1]) == parts[1]:
            found.append(file.path)
    return found[:limit]


def process_file(storage: FileStorageProvider, file_path: str) -> FileProcessingResult:
    """Return the events of a file, by the built-in types, and the lines that would be rejected. Raises OSError.

    The whole file is read into memory.
    """
    parts = PurePosixPath(file_path).parts[-PENDING_DEPTH:]
    metadata = None
    if len(parts) == PENDING_DEPTH:
        metadata = FileMetadata(type=parts[0], project_id=parts[1], timestamp=parts[2].partition("_")[0])
    result = FileProcessingResult(file_path=file_path, metadata=metadata)
    origin = Origin(
        type=metadata.type if metadata else "",
        project=metadata.project_id if metadata else "",
        policy="trust",
        clock_ms=now_ms(),
        file="/".join(parts),
    )
    explainer, offset = Explainer(BUILT_IN, SHAPES, origin), 0
    for number, line in enumerate(_lines(parts[-1], storage.read(file_path)), 1):
        explanation = explainer.explain(line, number, offset)
        offset += len(line)
        if explanation is None:
            continue
        if explanation.rejected is not None:
            result.errors.append(LineError(line=number, error=_words(explanation.rejected)))
        else:
            result.events.append(ParsedEvent(type=explanation.type, data=json.loads(line), line=number))
    return result


async def bulk_insert(storage: StoreStorage, events: Iterable[ParsedEvent], *, project_id: str = "") -> dict[str, int]:
    """Land events that `process_file` has read; return how many of each type.

    `project_id` is that of events that name none. Called again, it lands them again: files that are to land once are
    for the daemon, or `Worker`. Raises as `StoreStorage.land`; the types before have landed then.
    """
    by_type: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_type.setdefault(event.type, []).append(event.data)
    for event_type, records in by_type.items():
        await storage.land(event_type, records, project=project_id, batch=new_batch())
    return {event_type: len(records) for event_type, records in by_type.items()}


def _lines(name: str, content: bytes) -> Iterator[bytes]:
    with _OPENERS[encoding(name)](io.BytesIO(content)) as file:
        yield from io.BufferedReader(file) if not isinstance(file, io.BytesIO) else file


def _words(rejected: Rejection) -> str:
    parts: Sequence[str] = (rejected.reason, rejected.field, rejected.detail)
    return " ".join(filter(None, parts))
