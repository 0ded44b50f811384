"""The ingested files, and how long they are kept."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BeforeValidator, ByteSize, Field, field_validator

from spoolhouse import file_names
from spoolhouse.errors import BadSettingError
from spoolhouse.settings.base import MIB, YEAR, Group, Live, Reserve, Seconds, Size, number


class SpoolSettings(Group):
    """The watched folder, and when a file in it is complete."""

    storage_type: Literal["local"] = "local"
    """The kind of the spool's storage; `local` is a folder that this machine has mounted."""
    storage_path: Path | None = Field(default=None, examples=["/var/spool/spoolhouse"])
    """The folder that holds the spool. `ingest` needs it; there is no safe guess."""
    base_path: str = "observability"
    """The spool inside `storage_path`; may be empty."""
    poll_interval_ms: Live[int] = Field(default=10_000, gt=0, le=int(YEAR * 1000))
    """Milliseconds between two scans. The watcher reports new files at once; the scan finds the files that it missed.
    """
    quiet: Live[Seconds] = 0.3
    """Seconds without a change of size or time before a file counts as complete."""
    torn_after: Live[Seconds] = 10.0
    """Seconds that an unterminated last line may wait for its end before it is rejected."""
    append_watch: Live[Seconds] = 60.0
    """Seconds after a file's claim in which appended bytes are ingested too."""
    max_line: Live[Size] = ByteSize(16 * MIB)
    """Bytes of the longest line that is accepted; it bounds the memory that one line can cost."""
    read_error_wait: Live[Seconds] = 300.0
    """Seconds that a claimed file is retried after a read error of the disk. Then its readable lines land, and it goes
    to `failed/`. A shortage of descriptors or memory is waited out, however long it lasts."""
    project: Live[Literal["trust", "warn", "reject"]] = "warn"
    """Policy for an event whose project is not its folder's: accept it, accept it with a warning, or reject it."""
    expired: Live[Literal["trust", "warn", "reject"]] = "warn"
    """Policy for an event older than its table's TTL, which ClickHouse would delete silently."""
    future: Live[Literal["trust", "warn", "reject"]] = "warn"
    """Policy for an event that is more than a day in the future: a clock is wrong, or a unit."""
    names: Live[str] = file_names.DEFAULTS
    """Names of the files that are taken, in any case: globs apart by spaces, or an array. One with `{type}/` before it
    is for that type's folder alone. Each name may also end in `.gz`, `.zst`, `.bz2` or `.xz`. Hidden and temporary
    files are never taken."""
    project_id: Live[str | None] = Field(default=None, examples=["shop"])
    """Ingest only the files of this project."""
    min_free: Live[Reserve] = ByteSize(64 * MIB)
    """Bytes that must stay free on the spool's disk, so that the journal can always be written: below that no new file
    is claimed, and claimed files are finished. 0 switches it off."""
    min_free_inodes: Live[Annotated[int, BeforeValidator(number), Field(ge=0)]] = 1000
    """Inodes that must stay free, where the file system counts them. 0 switches it off."""
    delete_after_process: bool = False
    """Delete a file after its last row is acknowledged, instead of moving it to `processed/`. A file that alone holds
    the bytes of rejected lines is kept there. It changes with a restart: only a start makes sure that the tables sync
    their rows, see `clickhouse.durable`."""

    @property
    def root(self) -> Path:
        """The watched folder; BadSettingError without a `storage_path`."""
        if self.storage_path is None:
            raise BadSettingError(
                "spool.storage_path: not given; accepted: the folder that holds the spool (--file-storage-path)"
            )
        return self.storage_path / self.base_path

    @field_validator("poll_interval_ms", mode="before")
    @classmethod
    def _check_number(cls, value: object) -> object:
        return number(value)

    @field_validator("storage_path", mode="before")
    @classmethod
    def _check_path(cls, path: object) -> object:
        if path == "" or "\0" in str(path):
            raise ValueError("a folder's path")
        return path

    @field_validator("base_path")
    @classmethod
    def _check_base_path(cls, path: str) -> str:
        parts = PurePosixPath(path)
        if parts.is_absolute() or ".." in parts.parts or "\0" in path:
            raise ValueError("a relative path without ..")
        return "" if path == "" else str(parts)

    @field_validator("names", mode="before")
    @classmethod
    def _check_names(cls, globs: object) -> object:
        texts = globs.split() if isinstance(globs, str) else globs
        if not isinstance(texts, list) or not texts or not all(_is_glob(text) for text in texts):
            raise ValueError(
                "globs of names, such as *.jsonl, or log/*.log for the files of one type; not of hidden or temporary"
                f" names ({', '.join(file_names.TEMPORARY)}), which producers still write to"
            )
        return " ".join(texts)

    @field_validator("project_id")
    @classmethod
    def _check_project(cls, project: str | None) -> str | None:
        if project is not None and (project in {"", ".", ".."} or "/" in project or "\0" in project):
            raise ValueError("a project's id: the name of its folder in the spool")
        return project


def _is_glob(text: object) -> bool:
    return isinstance(text, str) and len(text.split()) == 1 and file_names.is_glob(text)


class RetentionSettings(Group):
    """The lifetime of `processed/`. Without a limit, which is the default, no file is deleted."""

    max_age_days: Live[
        Annotated[float, BeforeValidator(number), Field(gt=0, le=36_500, allow_inf_nan=False)] | None
    ] = Field(default=None, examples=[14])
    """Days that a file is kept after its move there, or its last change."""
    max_bytes: Live[Annotated[ByteSize, BeforeValidator(number), Field(gt=0)] | None] = Field(
        default=None, examples=["100GiB"]
    )
    """Bytes of all `processed/` folders of the spool together; beyond that the oldest files are deleted."""
    interval: Live[Seconds] = 600.0
    """Seconds between two scans of `processed/`, where there is a limit."""
