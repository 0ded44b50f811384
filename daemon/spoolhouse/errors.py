"""Errors, named for the decision that they ask for."""


class SpoolhouseError(Exception):
    """Any error of Spoolhouse's own; `str()` is one line for a person, without a secret in it."""


class BadSettingError(SpoolhouseError):
    """A setting is wrong: name it, touch nothing, exit 78."""


class BadRequestError(SpoolhouseError):
    """A question cannot be asked like that: it says what is accepted. Nothing was sent to the store; exit 2."""


class QuestionTooLargeError(SpoolhouseError):
    """A question would cost more than any may."""


def describe(error: Exception) -> str:
    """Return an error as one line for a person: an OSError with the file's name, and whom to run as."""
    if not isinstance(error, OSError):
        return str(error)
    name = "" if error.filename is None else f"{error.filename}: "
    hint = "; run it as a user who has the right, such as the daemon's" if isinstance(error, PermissionError) else ""
    return f"{name}{error.strerror or error}{hint}"


class StoreError(SpoolhouseError):
    """The store, or the way to it, refused.

    `code` is ClickHouse's own error code, if it gave one. `ambiguous` is true where the statement may have been
    executed all the same (the connection died before an answer came): a repeat must carry the same token. `hint` is an
    action for a person, and names the setting. `in_view`: the table has the rows, a view on it lacks them.
    """

    def __init__(
        self, message: str, *, code: int | None = None, ambiguous: bool = False, hint: str = "", in_view: bool = False
    ) -> None:
        """Take ClickHouse's text in one line; the driver must keep passwords out of it."""
        super().__init__(message)
        self.message = message
        self.code = code
        self.ambiguous = ambiguous
        self.hint = hint
        self.in_view = in_view

    @property
    def coded(self) -> str:
        """The message after its code, as it is kept with what was refused."""
        return self.message if self.code is None else f"ClickHouse code {self.code}: {self.message}"

    def __str__(self) -> str:
        """Return the message, its code and the hint as one line."""
        code = "" if self.code is None else f" (ClickHouse code {self.code})"
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.message}{code}{hint}"


class TransientError(StoreError):
    """It will pass: retry, with backoff, until it succeeds."""


class UnreachableError(TransientError):
    """No server answers, the connection broke, or the server lost its Keeper: another server may do better."""


class InUseError(TransientError):
    """Another process has the file of the database."""


class AwayError(TransientError):
    """One server has, or may have, something of a batch, and cannot be asked: this batch waits, others go on."""


class TooLargeError(TransientError):
    """The server has no memory for a batch of which nothing has landed: a smaller one may land."""


class RejectedDataError(StoreError):
    """The rows are at fault, not the server: find them."""


class OperatorError(StoreError):
    """Only a person can fix it (rights, a missing table, a wrong password): hold, report it, check again."""


class SpoolError(SpoolhouseError):
    """The spool folder is unusable: it is missing, read-only, or its locks do not lock."""


class UnfinishedError(SpoolhouseError):
    """A daemon has left work that must be finished first. The message names the command."""


class JournalError(SpoolhouseError):
    """A journal is missing or damaged although it has claimed files: keep the files, ingest nothing twice."""


class DiskError(SpoolhouseError):
    """A read or write on the spool's disk failed: hold, and retry.

    As far as one can tell, nothing is damaged; the operation did not happen. `hint` is an action for a person.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        """Take the folder, and the system's own error, in one line."""
        super().__init__(message)
        self.message = message
        self.code = None
        self.hint = hint

    def __str__(self) -> str:
        """Return the message and the hint as one line."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ReadError(DiskError):
    """A claimed file cannot be read now: its lines wait, everything else continues."""


class HeldReadError(ReadError):
    """A claimed file can be read less far than before, and has landed in part: it is kept as it is until it can be."""


class LeftError(DiskError):
    """The work is left to the next start, which finds it in the journal: a stop came, and it could not be done."""


class LowDiskError(DiskError):
    """The disk is nearly full: claim nothing new, and finish the rest."""
