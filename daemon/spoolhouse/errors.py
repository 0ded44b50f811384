"""Errors, named for the decision that they ask of whoever catches them."""


class SpoolhouseError(Exception):
    """Anything that Spoolhouse itself has to say; `str()` is one line for a person, without a secret in it."""


class BadSettingError(SpoolhouseError):
    """A setting is wrong: say which, touch nothing, exit 78."""


def describe(error: Exception) -> str:
    """Return what a person is told of an error: one of the system's with the file's name, and with who may do it."""
    if not isinstance(error, OSError):
        return str(error)
    name = "" if error.filename is None else f"{error.filename}: "
    hint = "; run it as a user who may, such as the daemon's" if isinstance(error, PermissionError) else ""
    return f"{name}{error.strerror or error}{hint}"


class StoreError(SpoolhouseError):
    """ClickHouse, or the way to it, refused.

    `code` is ClickHouse's own error code where it gave one. `ambiguous` is true where the statement may have been
    carried out all the same (the connection died before an answer came): a repeat must carry the same token.
    `mend` says what a person can do, naming the setting. `in_view`: the table has the rows, a view on it has not.
    """

    def __init__(
        self, message: str, *, code: int | None = None, ambiguous: bool = False, hint: str = "", in_view: bool = False
    ) -> None:
        """Take ClickHouse's own words in one line; what they say of a password is the driver's duty to keep out."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.ambiguous = ambiguous
        self.hint = hint
        self.in_view = in_view

    def __str__(self) -> str:
        """Return the message, its code and the mend as one line."""
        code = "" if self.code is None else f" (ClickHouse code {self.code})"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.message}{code}{hint}"


class TransientError(StoreError):
    """It will pass: try again, with backoff, for as long as it takes."""


class UnreachableError(TransientError):
    """No server answers at that address, or it broke off, or it has lost its Keeper: another server may do better."""


class UnfetchedError(TransientError):
    """Another replica has rows that this one has not fetched yet: what is not found here may be there."""


class RejectedDataError(StoreError):
    """The rows are at fault, not the server: find which."""


class OperatorError(StoreError):
    """Only a person can mend it (rights, a missing table, a wrong password): hold, say so, look again now and then."""


class SpoolError(SpoolhouseError):
    """The spool folder cannot be worked with: it is missing, read-only, or its locks do not lock."""


class JournalError(SpoolhouseError):
    """A journal is missing or damaged beside files that it should know: keep the files, ingest nothing twice."""


class DiskError(SpoolhouseError):
    """The disk under the spool does not take what is to be written, or give what is to be read: hold, and try again.

    Nothing is damaged, as far as one can tell; what was asked for did not happen. `mend` says what a person can do.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Take which folder it is, and what the system says, in one line."""
        super().__init__(message)
        self.message = message
        self.code = None
        self.hint = hint

    def __str__(self) -> str:
        """Return the message and the mend as one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ReadError(DiskError):
    """A claimed file cannot be read just now: what is in it waits, all else goes on."""


class LowDiskError(DiskError):
    """Little room is left on the disk: claim nothing new, and finish the rest with what there is."""
