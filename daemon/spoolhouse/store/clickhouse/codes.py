"""ClickHouse's error codes, each with the decision that it asks of us. The one place where errors are classified.

Transient: send it again, with the same token. Data: the rows are at fault, find which. Operator: hold, and say what a
person can do. A code that is not listed is operator: rows are never thrown away over an error that nobody understood.
"""

import re
import ssl
from dataclasses import dataclass

from spoolhouse.errors import (
    OperatorError,
    RejectedDataError,
    StoreError,
    TransientError,
)

_LONGEST_MESSAGE = 600
_GRANT = re.compile(r"the grant (?P<grant>.+? ON [^\s,;]*[^\s,;.])")
_VIEW = "while pushing to view"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What one code means for us."""

    decision: type[StoreError]
    reason: str
    """A few words that stand before the server's own."""
    mend: str = ""
    """What a person can do, naming the setting; empty where there is nothing to do but wait."""
    late: bool = False
    """It can come after a part was already committed: part of the insert may be in the table."""


def _transient(reason: str, mend: str = "", *, late: bool = True) -> Meaning:
    return Meaning(decision=TransientError, reason=reason, mend=mend, late=late)


def _data(reason: str) -> Meaning:
    return Meaning(decision=RejectedDataError, reason=reason)


def _operator(reason: str, mend: str) -> Meaning:
    return Meaning(decision=OperatorError, reason=reason, mend=mend)


_LOGIN = "check clickhouse.username and clickhouse.password"
_MIGRATE = "run `spoolhouse migrate`"
_DATABASE = "run `spoolhouse migrate`, or set clickhouse.database"
_ADDRESS = "check clickhouse.url"
_DISK = "free or add disk space on the ClickHouse server"
_MEMORY = "give the ClickHouse server more memory, or lower batch.max_bytes"
_PARTS = "if it lasts, raise batch.max_bytes: fewer, larger inserts make fewer parts"
_PROFILE = "allow the user of clickhouse.username to change settings (readonly = 0, no constraints on them)"
_KEEPER = "check ClickHouse Keeper"

CODES: dict[int, Meaning] = {
    # The way to the server, and between servers.
    95: _transient("the connection broke"),
    96: _transient("the connection broke"),
    198: _transient("a host name cannot be resolved", _ADDRESS),
    209: _transient("the network timed out"),
    210: _transient("the network failed"),
    279: _transient("no replica answers"),
    297: _transient("no replica of a shard answers"),
    519: _transient("no replica of a shard answers"),
    904: _transient("too many shards are away"),
    # The server has too much to do.
    159: _transient("the server ran out of its time limit"),
    160: _transient("the server found it too slow"),
    173: _transient("the server has no memory left", _MEMORY),
    201: _transient("the user's quota is used up", "raise the quota of the user of clickhouse.username"),
    216: _transient("an earlier attempt of the same insert still runs"),
    202: _transient("the server runs too many queries", late=False),
    203: _transient("the server has no free connection"),
    241: _transient("the server's memory limit is reached", _MEMORY),
    252: _transient("the table has too many parts, or the insert too many partitions", _PARTS),
    364: _transient("a server further on has too many requests"),
    425: _transient("the server's system failed"),
    439: _transient("the server has no free thread"),
    574: _transient("too much waits to be sent to the shards"),
    700: _transient("the user has too many sessions", late=False),
    745: _transient("the server is overloaded"),
    749: _transient("the server has too many connections", late=False),
    762: _transient("the server has too many connections", late=False),
    776: _transient("the server is at a limit of resources"),
    777: _transient("the server's memory limit is reached", _MEMORY),
    778: _transient("the server's memory limit is reached", _MEMORY),
    # Disks.
    74: _transient("the server cannot read its disk"),
    75: _transient("the server cannot write to its disk", _DISK),
    204: _transient("the server cannot write to its disk", _DISK),
    243: _transient("the server's disk is full", _DISK),
    499: _transient("the server's object storage failed"),
    500: _transient("the server's object storage failed"),
    693: _transient("the server's object storage failed"),
    # A server that is stopping, starting, or read-only for a while; queries that were ended.
    164: _transient("it is read-only", _PROFILE, late=False),
    236: _transient("the server is shutting down"),
    242: _transient("the table is read-only", _KEEPER, late=False),
    394: _transient("the query was cancelled"),
    473: _transient("a lock could not be had"),
    677: _transient("the query was cancelled"),
    733: _transient("the table is being restarted", late=False),
    734: _transient("the query was cancelled"),
    735: _transient("the query was cancelled"),
    # Replication.
    225: _transient("Keeper is away", _KEEPER),
    244: _transient("Keeper failed", _KEEPER),
    254: _transient("no replica is active"),
    285: _transient("too few replicas are alive"),
    286: _transient("the quorum of the insert before is missing"),
    289: _transient("the replica is not in the quorum"),
    319: _transient("it is unknown whether the insert was done"),
    529: _transient("the replica does not lead"),
    659: _transient("it is unknown whether the transaction was done"),
    900: _transient("the distributed cache failed"),
    999: _transient("Keeper failed", _KEEPER),
    # What the server did not classify itself. A full disk comes as 1001, too.
    1000: _transient("the server failed"),
    1001: _transient("the server failed", _DISK),
    # Values that the server cannot take.
    6: _data("text cannot be parsed"),
    25: _data("an escape sequence cannot be parsed"),
    26: _data("a string cannot be parsed"),
    27: _data("the row cannot be parsed"),
    33: _data("the row ends too early"),
    38: _data("a date cannot be parsed"),
    41: _data("a time cannot be parsed"),
    53: _data("a value has the wrong type"),
    69: _data("a value is out of bounds"),
    70: _data("a value cannot be converted"),
    72: _data("a number cannot be parsed"),
    117: _data("the row is malformed"),
    128: _data("an array is too large"),
    130: _data("an array cannot be parsed"),
    131: _data("a string is too large"),
    321: _data("a value is out of its type's range"),
    349: _data("a NULL is where none may be"),
    376: _data("a UUID cannot be parsed"),
    407: _data("a decimal is out of range"),
    441: _data("a value cannot be parsed"),
    467: _data("a boolean cannot be parsed"),
    469: _data("a constraint of the table forbids a row"),
    632: _data("something follows a value"),
    691: _data("a value is not among those of its column"),
    # What only a person can mend.
    16: _operator("a column is missing", _MIGRATE),
    20: _operator("the table has other columns", _MIGRATE),
    47: _operator("a name is unknown", _MIGRATE),
    60: _operator("the table does not exist", _MIGRATE),
    62: _operator("the server does not understand the statement", "check that the ClickHouse server is recent enough"),
    81: _operator("the database does not exist", _DATABASE),
    115: _operator("the server does not know a setting", "check that the ClickHouse server is recent enough"),
    180: _operator(
        "the user's settings profile does not exist", "check the profile of the user of clickhouse.username"
    ),
    192: _operator("the user does not exist", _LOGIN),
    193: _operator("the password is wrong", _LOGIN),
    194: _operator("a password is required", _LOGIN),
    195: _operator("the user may not connect from here", "allow this host for the user of clickhouse.username"),
    217: _operator("this port speaks another protocol", _ADDRESS),
    218: _operator("the table was dropped", _MIGRATE),
    291: _operator(
        "the user may not use the database", "grant it, or check clickhouse.username and clickhouse.database"
    ),
    371: _operator("the cluster's definition is inconsistent", "check the cluster's configuration"),
    452: _operator("a setting may not be changed", _PROFILE),
    456: _operator("a query parameter is missing", "report it: the statement and its values do not fit together"),
    457: _operator("a query parameter is wrong", "check the value"),
    472: _operator("a setting may not be changed", _PROFILE),
    497: _operator("the user lacks a right", "grant it to the user of clickhouse.username"),
    516: _operator("the login failed", _LOGIN),
    701: _operator("the cluster does not exist", "check clickhouse.cluster"),
    720: _operator("the user has expired", _LOGIN),
    764: _operator("the server cannot deduplicate this insert", "check that the ClickHouse server is recent enough"),
    767: _operator("the login needs a second factor", "choose another user in clickhouse.username"),
    774: _operator("the table is read-only for good", "check the table's disk and engine"),
}

_UNKNOWN = _operator("ClickHouse refused", "see the message")


def error(code: int, message: str, *, ambiguous: bool = False) -> StoreError:
    """Return the exception that fits ClickHouse's `code`; `message` is the server's own text, in any form.

    `ambiguous`: the driver cannot tell whether the statement was carried out. It is also set here for codes that can
    come after a part was committed, and for every error of a materialized view: the table has the rows by then. Such
    an error is never the rows' fault as far as the table goes, so it is the operator's, unless it will pass.
    """
    meaning = CODES.get(code, _UNKNOWN)
    words = first_line(message)
    decision, mend = meaning.decision, meaning.mend
    in_view = _VIEW in message
    if in_view and decision is RejectedDataError:
        decision, mend = OperatorError, "mend the materialized view, or its target; the table itself has the rows"
    if code == 497 and (found := _GRANT.search(message)):  # noqa: PLR2004  # ACCESS_DENIED, see CODES
        mend = f"GRANT {found['grant']} to the user of clickhouse.username"
    return decision(
        f"{meaning.reason}: {words}" if words else meaning.reason,
        code=code,
        ambiguous=ambiguous or meaning.late or in_view,
        mend=mend,
    )


def unreachable(where: str, problem: BaseException, *, ambiguous: bool) -> StoreError:
    """Return the exception for a conversation that could not begin, or broke; `where` is an address as `shown`.

    That passes, unless it is a certificate that we do not trust.
    """
    causes = [problem]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    root = causes[-1]
    if isinstance(root, ssl.SSLCertVerificationError):
        return OperatorError(
            f"the certificate of {where} is not trusted: {root.verify_message}",
            mend="check clickhouse.url, or name the certificate's authority in the environment: SSL_CERT_FILE",
        )
    words = first_line(str(root)) or type(root).__name__
    return TransientError(
        f"no answer from {where}: {words}", ambiguous=ambiguous, mend="check clickhouse.url, and that the server runs"
    )


def first_line(message: str) -> str:
    """Return the server's text as one line of bearable length, without the code and the version that frame it."""
    line = message.strip().partition("\n")[0].partition(": while executing ")[0].strip()
    line = re.sub(r"^Code: (\d+|None)\. ", "", line)
    line = re.sub(r"^(DB::Exception: )+", "", line)
    line = re.sub(r"( \(version [^()]*(\([^()]*\))?[^()]*\))$", "", line)
    line = re.sub(r" \([A-Z0-9_]+\)$", "", line).rstrip(". :")
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"
