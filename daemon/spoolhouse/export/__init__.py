"""For producers: `SpoolWriter` writes events into the spool, whole files or none. And `Worker`: the daemon from code.

`import spoolhouse.export`, the writers and the handlers of logs need the standard library alone.
"""

from typing import TYPE_CHECKING, Any

from spoolhouse.producer.writer import SpoolWriter

if TYPE_CHECKING:
    from spoolhouse.export.asynchronous import AsyncSpoolWriter
    from spoolhouse.export.default_exporter import DefaultExporter
    from spoolhouse.export.delivery import Drop
    from spoolhouse.export.files import (
        FileMetadata,
        FileProcessingResult,
        LineError,
        ParsedEvent,
        bulk_insert,
        list_pending_files,
        process_file,
    )
    from spoolhouse.export.logs import SpoolHandler, SpoolProcessor
    from spoolhouse.export.storages import (
        Capabilities,
        ObservabilityStorage,
        RejectedRecordsError,
        SpoolStorage,
        Strategy,
    )
    from spoolhouse.export.store_storage import StoreStorage
    from spoolhouse.export.worker import ProcessingError, ProcessingResult, Worker, WorkerStatus
    from spoolhouse.spool.storage import FileInfo, FileStorageProvider, LocalFileStorage

__all__ = [
    "AsyncSpoolWriter", "Capabilities", "DefaultExporter", "Drop", "FileInfo", "FileMetadata", "FileProcessingResult",
    "FileStorageProvider", "LineError", "LocalFileStorage", "ObservabilityStorage", "ParsedEvent", "ProcessingError",
    "ProcessingResult", "RejectedRecordsError", "SpoolHandler", "SpoolProcessor", "SpoolStorage", "SpoolWriter",
    "StoreStorage", "Strategy", "Worker", "WorkerStatus", "bulk_insert", "list_pending_files", "process_file",
]  # fmt: skip

_MODULES = {
    name: module
    for module, names in {
        f"{__name__}.asynchronous": "AsyncSpoolWriter",
        f"{__name__}.default_exporter": "DefaultExporter",
        f"{__name__}.delivery": "Drop",
        f"{__name__}.files": (
            "FileMetadata FileProcessingResult LineError ParsedEvent bulk_insert list_pending_files process_file"
        ),
        f"{__name__}.logs": "SpoolHandler SpoolProcessor",
        f"{__name__}.storages": "Capabilities ObservabilityStorage RejectedRecordsError SpoolStorage Strategy",
        f"{__name__}.store_storage": "StoreStorage",
        f"{__name__}.worker": "ProcessingError ProcessingResult Worker WorkerStatus",
        "spoolhouse.spool.storage": "FileInfo FileStorageProvider LocalFileStorage",
    }.items()
    for name in names.split()
}
"""Names that are imported on first use, and their modules."""


def __getattr__(name: str) -> Any:
    """Import a name on first use. Raises AttributeError for an unknown one."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # most programs need the writer alone

    return getattr(import_module(_MODULES[name]), name)
