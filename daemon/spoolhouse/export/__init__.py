"""For producers: `SpoolWriter` writes events into the spool, whole files or none. And `Worker`: the daemon from code.

`import spoolhouse.export`, the writers and the handlers of logs need the standard library alone.
"""

from typing import TYPE_CHECKING, Any

from spoolhouse.export.writer import SpoolWriter

if TYPE_CHECKING:
    from spoolhouse.export.asynchronous import AsyncSpoolWriter
    from spoolhouse.export.logs import SpoolHandler, SpoolProcessor
    from spoolhouse.export.worker import ProcessingError, ProcessingResult, Worker, WorkerStatus
    from spoolhouse.spool.storage import FileInfo, FileStorageProvider, LocalFileStorage

__all__ = [
    "AsyncSpoolWriter", "FileInfo", "FileStorageProvider", "LocalFileStorage", "ProcessingError", "ProcessingResult",
    "SpoolHandler", "SpoolProcessor", "SpoolWriter", "Worker", "WorkerStatus",
]  # fmt: skip

_MODULES = {
    "AsyncSpoolWriter": f"{__name__}.asynchronous",
    **dict.fromkeys(("SpoolHandler", "SpoolProcessor"), f"{__name__}.logs"),
    **dict.fromkeys(("ProcessingError", "ProcessingResult", "Worker", "WorkerStatus"), f"{__name__}.worker"),
    **dict.fromkeys(("FileInfo", "FileStorageProvider", "LocalFileStorage"), "spoolhouse.spool.storage"),
}
"""Names that are imported on first use, and their modules."""


def __getattr__(name: str) -> Any:
    """Import a name on first use. Raises AttributeError for an unknown one."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # most programs need the writer alone

    return getattr(import_module(_MODULES[name]), name)
