"""The flag that stops all instances of a spool from claiming: a file beside their folders. Blocks on the disk."""

import contextlib
import json
import os
from pathlib import Path

from spoolhouse.spool import fs, layout

_LONGEST = 1 << 13
"""The most bytes to read: a reason of 500 characters, each of which JSON may escape with twelve."""


def pause(spool: Path, reason: str, when: str) -> str | None:
    """Set the flag, durably; return None, or the description of an earlier pause. Raises OSError."""
    fs.make_folders(layout.state_folder(spool), below=spool)
    flag = layout.state_folder(spool) / layout.PAUSED
    # Written aside and then renamed: nobody reads half of it, and of two pauses at once the first one's reason stays.
    temporary = flag.with_name(f".{layout.PAUSED}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps({"since": when, "reason": reason}) + "\n", encoding="utf-8")
        fs.rename_without_clobber(temporary, flag)
    except FileExistsError:
        return paused(spool)
    finally:
        temporary.unlink(missing_ok=True)
    fs.sync_folder(flag.parent)
    return None


def resume(spool: Path) -> bool:
    """Remove the flag, durably; return false if there was none."""
    flag = layout.state_folder(spool) / layout.PAUSED
    try:
        flag.unlink()
    except FileNotFoundError:
        return False
    fs.sync_folder(flag.parent)
    return True


def paused(spool: Path) -> str | None:
    """Return the description of the pause, with its time and reason; None without one. Any file of that name counts."""
    flag = layout.state_folder(spool) / layout.PAUSED
    if not os.path.lexists(flag):
        return None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        descriptor, _ = fs.open_regular(flag)
        try:
            told = json.loads(os.read(descriptor, _LONGEST))
        finally:
            os.close(descriptor)
        reason = f": {told['reason']}" if told["reason"] else ""
        return f"since {told['since']}{reason}"
    return "by a file that was put there by hand"
