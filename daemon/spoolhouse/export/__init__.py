"""For producers: `SpoolWriter` writes events into the spool, whole files or none.

`import spoolhouse.export` and the writers need the standard library alone.
"""

from typing import TYPE_CHECKING, Any

from spoolhouse.export.writer import SpoolWriter

if TYPE_CHECKING:
    from spoolhouse.export.asynchronous import AsyncSpoolWriter
    from spoolhouse.export.logs import SpoolHandler, SpoolProcessor

__all__ = ["AsyncSpoolWriter", "SpoolHandler", "SpoolProcessor", "SpoolWriter"]

_MODULES = {"AsyncSpoolWriter": "asynchronous", "SpoolHandler": "logs", "SpoolProcessor": "logs"}
"""Names that are imported on first use, and their modules."""


def __getattr__(name: str) -> Any:
    """Import a name on first use. Raises AttributeError for an unknown one."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  # most programs need the writer alone

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
