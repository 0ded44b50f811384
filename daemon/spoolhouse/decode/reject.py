"""Why a line is rejected. The reasons are part of the interface: operators filter and alert on them."""

from enum import StrEnum

from msgspec import Struct


class Reason(StrEnum):
    """Why a line is rejected, in one word."""

    INVALID_JSON = "invalid_json"
    INVALID_UNICODE = "invalid_unicode"
    NOT_AN_OBJECT = "not_an_object"
    TOO_DEEP = "too_deep"
    TOO_LONG = "too_long"
    TORN = "torn"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    """No column takes the field, and `events.unknown` is `reject`."""
    WRONG_TYPE = "wrong_type"
    BAD_CHOICE = "bad_choice"
    BAD_TIME = "bad_time"
    ABSURD_TIME = "absurd_time"
    OUT_OF_RANGE = "out_of_range"
    EXPIRED = "expired"
    FUTURE = "future"
    PROJECT_MISMATCH = "project_mismatch"
    REFUSED = "refused"
    """ClickHouse refused the row; the detail has its code and its message."""


class RejectedLineError(ValueError):
    """A line is no valid event. `field` is the JSON key at fault, empty where the line as a whole is."""

    def __init__(self, reason: Reason, field: str = "", detail: str = "") -> None:
        """Keep the parts; `detail` is one short sentence for a person."""
        super().__init__(reason, field, detail)
        self.reason = reason
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.field} {self.detail}"


class RefusedError(ValueError):
    """A fast reader does not take a line, because of the value of a key, or because that is absent."""

    def __init__(self, key: str) -> None:
        """Keep the key."""
        super().__init__(key)
        self.key = key


# Not frozen: a frozen one takes three times as long to make, and there may be one for each line.
class Reject(Struct, kw_only=True):
    """A rejected line: where it stands, why, and its bytes.

    `line` counts from 1 within the piece that was decoded. `offset` counts bytes from where the file (or, compressed,
    its content) starts. `raw` has no line end.
    """

    line: int
    offset: int
    reason: Reason
    field: str
    detail: str
    raw: bytes
    batch: str = ""
    row: int = 0
    """Of a row that ClickHouse refused: its batch, and its number there."""
