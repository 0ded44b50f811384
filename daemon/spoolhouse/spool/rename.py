"""The atomic rename that replaces nothing. The standard library alone: producers import it."""

import ctypes
import errno
import os
from pathlib import Path

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_LIBC = ctypes.CDLL(None, use_errno=True)


def rename_without_clobber(
    source: Path | str, target: Path | str, *, folder: int | None = None, target_folder: int | None = None
) -> None:
    """Rename atomically; raises FileExistsError if `target` exists.

    `source` is relative to the open folder `folder`, if that is given, and `target` to `target_folder`.

    `link` and `unlink` would do as well, but the kernel forbids links to other users' files (fs.protected_hardlinks),
    and a crash between the two leaves both names. Where the file system lacks RENAME_NOREPLACE, a check before the
    rename must do.
    """
    renameat2 = getattr(_LIBC, "renameat2", None)
    if renameat2 is not None:
        start = _AT_FDCWD if folder is None else folder
        end = _AT_FDCWD if target_folder is None else target_folder
        if renameat2(start, os.fsencode(source), end, os.fsencode(target), _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in {errno.ENOSYS, errno.EINVAL}:
            raise OSError(code, os.strerror(code), os.fspath(source), None, os.fspath(target))
    if exists(target, folder=target_folder):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(target))
    os.rename(source, target, src_dir_fd=folder, dst_dir_fd=target_folder)


def exists(path: Path | str, *, folder: int | None = None) -> bool:
    """Return whether the name `path` exists, relative to the open folder `folder`; a dangling link counts."""
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
