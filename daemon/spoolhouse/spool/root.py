"""Prepare the spool's own folder. Blocks on the disk."""

import errno
import os
from pathlib import Path

from spoolhouse.errors import SpoolError

_WRONG = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.EEXIST,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.EINVAL,
        errno.ENAMETOOLONG,
    }
)
"""Errors of a wrong setting or a wrong owner; all others mean that the disk is not ready."""


def make_ready(spool: Path) -> None:
    """Create the spool's folder if it is missing, and check that it can be read and written.

    Raises `SpoolError` if a person has to change a setting or a permission; OSError if the disk is full, read-only or
    away, which may pass.
    """
    try:
        spool.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in _WRONG:
            raise
        raise SpoolError(f"{spool}: {error.strerror}; set spool.storage_path to a folder of your own") from error
    try:
        os.scandir(spool).close()
        if not os.access(spool, os.W_OK | os.X_OK):
            is_read_only = os.statvfs(spool).f_flag & os.ST_RDONLY
            code = errno.EROFS if is_read_only else errno.EACCES
            raise OSError(code, os.strerror(code), os.fspath(spool))
    except OSError as error:
        if error.errno not in _WRONG:
            raise
        raise SpoolError(f"{spool}: not readable and writable by this user; fix its permissions") from error
