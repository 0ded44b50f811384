"""DuckDB's errors as the errors that ask for a decision. Each class of them is listed once."""

import re
from pathlib import Path

import duckdb

from spoolhouse.errors import InUseError, OperatorError, RejectedDataError, StoreError, TooLargeError, TransientError

_PID = re.compile(r"PID (\d+)")
_KIND = re.compile(r"^[A-Z][A-Za-z ]* Error: ")
_NEWER = re.compile(r"version number|storage version|newer version", re.IGNORECASE)
_SUGGESTIONS = ("Candidate bindings: ", "Did you mean ")
_MAKE_ROOM = "free or add disk space there"
_REFUSED = (
    duckdb.ConstraintException,
    duckdb.ConversionException,
    duckdb.OutOfRangeException,
    duckdb.TypeMismatchException,
)
_BROKEN = (duckdb.FatalException, duckdb.InternalException)
ENDS_THE_CONNECTION = (*_BROKEN, duckdb.IOException)
"""After these the file is opened anew: DuckDB itself refuses to go on after some of them."""


def store_error(error: duckdb.Error, path: Path) -> StoreError:
    """Return DuckDB's error on the file at `path` as one of ours."""
    message = _text(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return TooLargeError(message, hint="raise duckdb.memory, or lower batch.max_bytes")
    if isinstance(error, _REFUSED):
        return RejectedDataError(message)
    if isinstance(error, (duckdb.TransactionException, duckdb.InterruptException, *_BROKEN)):
        is_commit = "Failed to commit" in message
        return TransientError(message, ambiguous=True, hint=_MAKE_ROOM if is_commit else "")
    if isinstance(error, duckdb.IOException):
        return _of_the_file(message, path)
    if is_damage(error):
        hint = "restore the file (and its log, .wal) from a copy, or name another in store.url"
        return OperatorError(f"{path}: {message}", hint=hint)
    return OperatorError(message, hint="see `spoolhouse migrate --check`")


def is_damage(error: duckdb.Error) -> bool:
    """Tell whether a block of the file, or of its log, is not what was written."""
    return any(text in str(error) for text in ("Corrupt database file", "Corrupt WAL file"))


def missing(path: Path) -> OperatorError:
    """Return the error of a command that is to make no file, and finds none."""
    return OperatorError(f"{path}: no such file", hint="check store.url; `ingest` and `migrate` make the file")


def _of_the_file(message: str, path: Path) -> StoreError:
    if "set lock on file" in message:
        found = _PID.search(message)
        by = "another process" if found is None else f"process {found[1]}"
        return InUseError(
            f"{path} is in use by {by}",
            hint="stop it first (a daemon: SIGTERM, or systemctl stop);"
            " lists, `sql` and `status` work beside a daemon that serves HTTP",
        )
    if "database does not exist" in message:
        return missing(path)
    if "not a valid DuckDB database" in message:
        return OperatorError(f"{path} is no DuckDB database, or a damaged one", hint="name another file in store.url")
    if _NEWER.search(message):
        return OperatorError(f"{path}: {message}", hint="a newer DuckDB has written it: upgrade Spoolhouse's")
    if any(text in message for text in ("No such file", "Is a directory", "Permission denied", "Read-only")):
        return OperatorError(f"{path}: {message}", hint="check store.url, and the rights on the file and its folder")
    return TransientError(f"{path}: {message}", ambiguous=True, hint=_MAKE_ROOM)


def _text(error: duckdb.Error) -> str:
    """Return the first line of its text, without the name of its class, and what DuckDB suggests instead."""
    first, *others = str(error).strip().split("\n")
    suggested = [line for line in others if line.startswith(_SUGGESTIONS)]
    return "; ".join([_KIND.sub("", first), *suggested])
