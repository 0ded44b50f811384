"""The records of rejected lines in `rejected/{day}/{shipment}.jsonl`, one JSON object a line.

`file`, `line` (from 1), `offset` (bytes into the file's content), `time` (of the shipment), `reason`, `field`, `detail`
and the original bytes, as `raw` if they are UTF-8, else as `raw_base64`. A row that ClickHouse refused has its `batch`,
its number there as `row`, and as `nth` its number among the rows of its line. Many short neighbours with the same
reason share a record: `lines` is their number, and `raw` holds them with line ends between them. Lines of a replayed
file, `replayed`, have the file and the line of their first place.

The kept bytes of a file's lines are in proportion to the file's size on the disk. Lines beyond that, and lines over
`spool.max_line`, are not kept: in their records, one for many lines of one reason, `spans` is their position in the
file, which is not deleted then, and `sha256` their digest (`reject_sources` reads them). For a line over the limit,
`length` is its length, and its first bytes are kept beside as `{shipment}.{number}.line`, named in `raw_file`.
"""

import base64
import json
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from spoolhouse.decode.reject import Reason
from spoolhouse.errors import SpoolError
from spoolhouse.spool import reject_sources
from spoolhouse.spool.line_spans import spans_of


def read(path: Path) -> Iterator[dict[str, object]]:
    """Yield the records of a file, in order. Raises `SpoolError` for a file that is not ours, OSError."""
    with path.open("rb") as content:
        for number, line in enumerate(content, start=1):
            try:
                record = json.loads(line)
                _check(record)
            except (ValueError, TypeError, KeyError):
                raise SpoolError(f"{path}: line {number} is no record of a rejected line") from None
            yield record


def _check(record: Mapping[str, object]) -> None:
    """Raise ValueError, TypeError or KeyError for a record that is not ours."""
    _, _, _ = str(record["file"]).split("/")
    lines_in(record)
    if "sha256" not in record:
        raw_of(record)
    else:
        for name in ("spans", "replayed_spans"):
            if name == "spans" or "replayed" in record:
                deque(spans_of(str(record[name])), maxlen=0)
    if record["reason"] == Reason.REFUSED:
        str(record["batch"]), int(str(record["row"])), int(str(record["nth"]))


def lines_in(record: Mapping[str, object]) -> int:
    """Return the number of rejected lines in a record."""
    return int(str(record.get("lines", 1)))


def raw_of(record: Mapping[str, object]) -> bytes:
    """Return the bytes that a record keeps, without the last line end. Raises KeyError if it keeps none."""
    return str(record["raw"]).encode() if "raw" in record else base64.b64decode(str(record["raw_base64"]))


def bytes_of(spool: Path, record: Mapping[str, object]) -> bytes:
    """Return the bytes of a record's lines, which must not be many, from any place. Raises `SpoolError`, OSError."""
    return raw_of(record) if "sha256" not in record else b"".join(reject_sources.find(spool, record).lines())
