"""ClickHouse's error codes, each with the decision that it asks for. The one place where errors are classified.

Transient: send it again, with the same token. Data: the rows are at fault, find them. Operator: hold, with a hint for a
person. An unlisted code is operator: no row is rejected over an error that nobody understood.
"""

import re
import ssl

from msgspec import Struct

from spoolhouse.errors import OperatorError, RejectedDataError, StoreError, TransientError, UnreachableError

_LONGEST_MESSAGE = 600
_DEFAULT = "clickhouse://default@localhost:9000/default"
"""The address without any settings: nobody may have named a store."""
_GRANT = re.compile(r"the grant (?P<grant>.+? ON [^\s,;]*[^\s,;.])")
_ALERT = re.compile(r"alert (bad |unsupported )?(certificate|unknown ca|access denied)", re.IGNORECASE)
_VIEW = "while pushing to view"
_CONVERSION = re.compile(r"while converting source column|Unsupported types to CAST")
_UNKNOWN_CHOICE = 691
# "Unknown identifier x in scope SELECT …. Maybe you meant: […]": all but the statement is kept.
_SCOPE = re.compile(r"[.:]? [Ii]n scope (?:SELECT|WITH|INSERT|DESCRIBE)\b.*?(\. Maybe you meant: \[[^]]*\])?$")
_TOO_WIDE = re.compile(r"Too many partitions for single INSERT block")


class Meaning(Struct, frozen=True, kw_only=True):
    """The meaning of one code."""

    decision: type[StoreError]
    reason: str
    """A few words before the server's own."""
    hint: str = ""
    """An action for a person, naming the setting; empty where waiting is enough."""
    late: bool = False
    """It can come after a part was committed: some of the insert may be in the table."""


def _transient(reason: str, hint: str = "", *, late: bool = True) -> Meaning:
    return Meaning(decision=TransientError, reason=reason, hint=hint, late=late)


def _data(reason: str) -> Meaning:
    return Meaning(decision=RejectedDataError, reason=reason)


def _operator(reason: str, hint: str, *, late: bool = False) -> Meaning:
    return Meaning(decision=OperatorError, reason=reason, hint=hint, late=late)


_LOGIN = "check clickhouse.username and clickhouse.password"
_MIGRATE = "run `spoolhouse migrate`"
_DATABASE = "run `spoolhouse migrate`, or set clickhouse.database"
_ADDRESS = "check clickhouse.url"
_DISK = "free or add disk space on the ClickHouse server"
_MEMORY = (
    "give the ClickHouse server, or its user, more memory; a batch that still does not fit is sent in smaller parts,"
    " and a lower batch.max_bytes makes all later ones smaller"
)
_PARTS = "if it lasts, raise batch.max_bytes: fewer, larger inserts make fewer parts"
_PROFILE = "allow the user of clickhouse.username to change settings (readonly = 0, no constraints on them)"
_KEEPER = "check ClickHouse Keeper"
_LIMITS = "raise the limit in the profile of the user of clickhouse.username"
_RECENT = "check that the ClickHouse server is recent enough"
_DAMAGE = "see the ClickHouse server's log, and check its disks and memory"
_DIFFERS = "see `spoolhouse migrate --check`"

CODES: dict[int, Meaning] = {
    # The way to the server, and between servers.
    23: _transient("the connection broke"),
    24: _transient("the connection broke"),
    86: _transient("another server refused"),
    95: _transient("the connection broke"),
    96: _transient("the connection broke"),
    99: _transient("the conversation got out of step"),
    100: _transient("the conversation got out of step"),
    101: _transient("the conversation got out of step"),
    102: _transient("the conversation got out of step"),
    198: _transient("a host name cannot be resolved", _ADDRESS),
    209: _transient("the network timed out"),
    210: _transient("the network failed"),
    279: _transient("no replica answers"),
    297: _transient("no replica of a shard answers"),
    369: _transient("all replicas lag behind"),
    410: _transient("a server further on does not answer"),
    519: _transient("no replica of a shard answers"),
    904: _transient("too many shards are away"),
    # The server is overloaded.
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
    411: _transient("the server's system failed"),
    439: _transient("the server has no free thread"),
    573: _transient("the server's system failed"),
    574: _transient("too much waits to be sent to the shards"),
    700: _transient("the user has too many sessions", late=False),
    692: _transient("the table has too many unfinished mutations", "see system.mutations on the ClickHouse server"),
    745: _transient("the server is overloaded"),
    749: _transient("the server has too many connections", late=False),
    762: _transient("the server has too many connections", late=False),
    763: _transient("the server takes no session now", late=False),
    776: _transient("the server is at a limit of resources"),
    777: _transient("the server's memory limit is reached", _MEMORY),
    778: _transient("the server's memory limit is reached", _MEMORY),
    # Disks.
    74: _transient("the server cannot read its disk"),
    75: _transient("the server cannot write to its disk", _DISK),
    76: _transient("the server cannot open a file", _DISK),
    77: _transient("the server cannot close a file", _DISK),
    87: _transient("the server cannot read its disk", _DISK),
    88: _transient("the server cannot write to its disk", _DISK),
    172: _transient("the server cannot make a folder", _DISK),
    204: _transient("the server cannot write to its disk", _DISK),
    214: _transient("the server cannot see how full its disk is", _DISK),
    243: _transient("the server's disk is full", _DISK),
    272: _transient("the server cannot use its disk", _DISK),
    273: _transient("the server cannot use its disk", _DISK),
    274: _transient("the server cannot read its disk", _DISK),
    275: _transient("the server cannot write to its disk", _DISK),
    294: _transient("the server cannot write to its disk", _DISK),
    400: _transient("the server cannot use its disk", _DISK),
    424: _transient("the server cannot make a link", _DISK),
    458: _transient("the server cannot remove a file", _DISK),
    499: _transient("the server's object storage failed"),
    500: _transient("the server's object storage failed"),
    521: _transient("the server cannot rename a file", _DISK),
    531: _transient("the server cannot use its disk", _DISK),
    566: _transient("the server cannot remove a folder", _DISK),
    586: _transient("the server cannot make a file", _DISK),
    641: _transient("the server cannot write to its disk", _DISK),
    693: _transient("the server's object storage failed"),
    707: _transient("the server's object storage failed"),
    737: _transient("the server's object storage failed"),
    771: _transient("the server cannot write to its disk cache", _DISK),
    1009: _transient("the server's object storage failed"),
    # A server that is stopping, starting, or read-only for a while; queries that were ended.
    164: _transient("it is read-only", _PROFILE, late=False),
    236: _transient("the server is shutting down"),
    242: _transient("the table is read-only", _KEEPER, late=False),
    384: _transient("a part of the table is locked"),
    394: _transient("the query was cancelled"),
    473: _transient("a lock could not be had"),
    667: _transient("the server is starting"),
    677: _transient("the query was cancelled"),
    696: _transient("the server is shutting down"),
    733: _transient("the table is being restarted", late=False),
    734: _transient("the query was cancelled"),
    735: _transient("the query was cancelled"),
    738: _transient("a part of the table is locked"),
    740: _transient("a part of the table may be damaged", _DAMAGE),
    741: _transient("the table was replaced meanwhile"),
    # Replication.
    225: _transient("Keeper is away", _KEEPER),
    232: _transient("a part of the table went away meanwhile"),
    234: _transient("no replica has a part"),
    235: _transient("a part of that name is there already"),
    244: _transient("Keeper failed", _KEEPER),
    254: _transient("no replica is active"),
    255: _transient("a part cannot be had from the other replicas"),
    285: _transient("too few replicas are alive"),
    286: _transient("the quorum of the insert before is missing"),
    289: _transient("the replica is not in the quorum"),
    319: _transient("it is unknown whether the insert was done"),
    341: _transient("not all hosts of the cluster have finished"),
    416: _transient("the replica's state changed meanwhile"),
    529: _transient("the replica does not lead"),
    568: _transient("Keeper failed", _KEEPER),
    571: _transient("the database cannot replicate", _KEEPER),
    593: _transient("the replicas' shared storage failed"),
    659: _transient("it is unknown whether the transaction was done"),
    900: _transient("the distributed cache failed"),
    901: _transient("the distributed cache failed"),
    903: _transient("the distributed cache failed"),
    999: _transient("Keeper failed", _KEEPER),
    # Errors that the server did not classify. A full disk comes as 1001, too.
    1000: _transient("the server failed"),
    1001: _transient("the server failed", _DISK),
    1002: _transient("the server failed"),
    710: _transient("a fault was injected on purpose"),
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
    675: _data("an address cannot be parsed"),
    676: _data("an address cannot be parsed"),
    691: _data("a value is not among those of its column"),
    # Only a person can fix these. First: the table differs from its declaration.
    8: _operator("a column is missing", _MIGRATE),
    10: _operator("a column is missing", _MIGRATE),
    43: _operator("a column has another type", _DIFFERS),
    44: _operator("a column has another type", _DIFFERS),
    122: _operator("the table has other columns", _DIFFERS),
    16: _operator("a column is missing", _MIGRATE),
    20: _operator("the table has other columns", _MIGRATE),
    46: _operator("the server lacks a function", _RECENT),
    47: _operator("a name is unknown", _MIGRATE),
    48: _operator("the server, or the table's engine, cannot do this", _RECENT),
    50: _operator("the server does not know a type", _RECENT),
    56: _operator("the server does not know a table engine", _RECENT),
    60: _operator("the table does not exist", _MIGRATE),
    62: _operator("the server does not understand the statement", _RECENT),
    63: _operator("the server lacks an aggregate function", _RECENT),
    81: _operator("the database does not exist", _DATABASE),
    115: _operator("the server does not know a setting", _RECENT),
    36: _operator("the server refuses an argument", _RECENT),
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
    764: _operator("the server cannot deduplicate this insert", _RECENT),
    767: _operator("the login needs a second factor", "choose another user in clickhouse.username"),
    774: _operator("the table is read-only for good", "check the table's disk and engine"),
    199: _operator("the user's quota does not exist", "check the quota of the user of clickhouse.username"),
    344: _operator("the server has this switched off", "check the ClickHouse server's configuration"),
    392: _operator("the user may not run such a statement", _PROFILE),
    471: _operator("the server refuses the value of a setting", _RECENT),
    496: _operator("the user's quota wants a client key", "give the user of clickhouse.username another quota"),
    511: _operator("the user's role does not exist", "check the roles of the user of clickhouse.username"),
    620: _operator("the user may not run such a statement", _PROFILE),
    673: _operator("the user may not use a resource", _PROFILE),
    902: _operator("the servers of the cluster are of versions that do not fit", "update the ClickHouse servers"),
    # Limits that somebody set.
    158: _operator("the statement may not read so many rows", _LIMITS),
    161: _operator("the statement may not read so many columns", _LIMITS),
    162: _operator("the statement is nested too deeply", _LIMITS),
    167: _operator("the statement is nested too deeply", _LIMITS),
    168: _operator("the statement is too big", _LIMITS),
    191: _operator("the statement may not make so large a set", _LIMITS),
    229: _operator("the statement is too long", _LIMITS),
    290: _operator("a limit is exceeded", _LIMITS),
    306: _operator("the statement is nested too deeply", _LIMITS),
    307: _operator("the statement may not read so many bytes", _LIMITS),
    396: _operator("the statement may not return so much", _LIMITS),
    565: _operator("the statement may not touch so many partitions", _LIMITS),
    712: _operator("the table has too many views", "drop some, or raise the ClickHouse server's limit"),
    724: _operator("the server has too many tables", "drop some, or raise the ClickHouse server's limit"),
    725: _operator("the server has too many databases", "drop some, or raise the ClickHouse server's limit"),
    # Damage, which can show at any time.
    40: _operator("a checksum is wrong: data is damaged on the way, or on a disk", _DAMAGE, late=True),
    49: _operator("the server found a fault in itself", "see the ClickHouse server's log, and update it", late=True),
    226: _operator("a part of the table is damaged", _DAMAGE, late=True),
    228: _operator("a part of the table is damaged", _DAMAGE, late=True),
    231: _operator("the table has too many damaged parts", _DAMAGE, late=True),
    246: _operator("data is damaged", _DAMAGE, late=True),
    271: _operator("data cannot be decompressed", _DAMAGE, late=True),
    415: _operator("all replicas of the table are lost", _DAMAGE, late=True),
    695: _operator("the server could not load the table", _DAMAGE, late=True),
    722: _operator("the server could not load the table", _DAMAGE, late=True),
}

_UNKNOWN = _operator("ClickHouse refused", "see the message", late=True)


def error(code: int, message: str, *, ambiguous: bool = False) -> StoreError:
    """Return the exception for ClickHouse's `code`; `message` is the server's own text, in any form.

    `ambiguous`: the driver does not know whether the statement was executed. It is also set here for codes that can
    come after a part was committed, and for every error of a materialized view: the table has the rows by then, so
    they are not at fault, and the error is the operator's, unless it will pass.
    """
    meaning = CODES.get(code, _UNKNOWN)
    words = first_line(message)
    decision, hint = meaning.decision, meaning.hint
    in_view = _VIEW in message
    if in_view and decision is RejectedDataError:
        decision, hint = OperatorError, "fix the materialized view, or its target; the table itself has the rows"
    elif _TOO_WIDE.search(message) and not in_view:
        # Comes before anything is written. The batch is halved until each half has few enough partitions: one row does.
        return RejectedDataError(f"the insert has too many partitions: {words}", code=code, ambiguous=ambiguous)
    elif decision is RejectedDataError and code != _UNKNOWN_CHOICE and _CONVERSION.search(message):
        # The value fits the declaration, but the column has another type: it refuses the values of all rows, and none
        # of them is at fault.
        decision, hint = OperatorError, _DIFFERS
    if code == 497 and (found := _GRANT.search(message)):  # noqa: PLR2004  # ACCESS_DENIED, see CODES
        hint = f"GRANT {found['grant']} to the user of clickhouse.username"
    return decision(
        f"{meaning.reason}: {words}" if words else meaning.reason,
        code=code,
        ambiguous=ambiguous or meaning.late or in_view,
        hint=hint,
        in_view=in_view,
    )


def unreachable(where: str, problem: BaseException, *, ambiguous: bool) -> StoreError:
    """Return the exception for a connection that failed or broke; `where` is an address as `shown`.

    It is transient, unless a certificate is not trusted.
    """
    causes = [problem]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    root = causes[-1]
    if isinstance(root, ssl.SSLCertVerificationError):
        return OperatorError(
            f"the certificate of {where} is not trusted: {root.verify_message}",
            hint="check clickhouse.url, or name the certificate's authority in clickhouse.tls_ca",
        )
    if isinstance(root, ssl.SSLError) and _ALERT.search(str(root)):
        return OperatorError(
            f"{where} does not accept our certificate: {root.reason or root}",
            ambiguous=ambiguous,
            hint="check clickhouse.tls_cert and clickhouse.tls_key",
        )
    words = first_line(str(root)) or type(root).__name__
    hint = "check clickhouse.url, and that the server runs"
    if where == _DEFAULT:
        hint += ", or name a DuckDB file with --store-url duckdb:///file.db"
    if where.startswith(("clickhouses", "https")):
        # TLS 1.3 refuses a client without a certificate only after its handshake: the client may see a mere reset.
        hint += "; it may want a client certificate (clickhouse.tls_cert)"
    return UnreachableError(f"no answer from {where}: {words}", ambiguous=ambiguous, hint=hint)


def first_line(message: str) -> str:
    """Return the server's text as one line of limited length, without code, version and the statement it is about."""
    line = message.strip().partition("\n")[0].partition(": while executing ")[0].strip()
    line = re.sub(r"^Code: (\d+|None)\. ", "", line)
    line = re.sub(r"^(DB::Exception: )+", "", line)
    line = re.sub(r"( \(version [^()]*(\([^()]*\))?[^()]*\))$", "", line)
    line = re.sub(r" \([A-Z0-9_]+\)$", "", line).rstrip(". :")
    line = _SCOPE.sub(r"\1", line)
    return line if len(line) <= _LONGEST_MESSAGE else line[:_LONGEST_MESSAGE] + "…"
