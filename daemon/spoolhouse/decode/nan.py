"""NaN and Infinity, which JSON does not have, and which Python's `json` writes nevertheless."""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from spoolhouse.decode.lenient import LenientReader
from spoolhouse.decode.values import NULL, Notes
from spoolhouse.events.declaration import Kind

_object_of = msgspec.json.Decoder(dict[str, Raw]).decode
_TEXT_OR_NAN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|(-?(?:NaN|Infinity))', re.DOTALL)
"""A text, which stays as it is; or a number that Python's `json` writes and that JSON does not have. A text without an
end matches up to the end of the line, so that each byte is looked at once."""


def fields(line: bytes, notes: Notes) -> dict[str, Raw] | None:
    """Return the fields of a line that has NaN or Infinity in it, which become text; None if it is malformed."""
    text, nulls = replaced(line)
    if not nulls:
        return None
    try:
        found, others = _object_of(text), _object_of(nulls)
    except ValueError:
        return None
    notes.nulls = {key: others[key] for key, value in found.items() if value != others[key]}
    notes.converted.extend(notes.nulls)
    return found


def clear_in_texts(content: dict[str, Raw], nulls: Mapping[str, Raw], reader: LenientReader) -> None:
    """Replace NaN and Infinity by null where a column of text takes them: else many lines would have the id NaN."""
    for key, value in nulls.items():
        found = reader.root.values.get(key)
        if value == NULL and key in content and found is not None and found.column.kind is Kind.TEXT:
            content[key] = value


def replaced(line: bytes) -> tuple[bytes, bytes]:
    """Return a line with NaN and Infinity as text, and the line with nulls for them; both empty if it has none."""
    if b"NaN" not in line and b"Infinity" not in line:
        return b"", b""
    text, nulls, end = bytearray(), bytearray(), 0
    for found in _TEXT_OR_NAN.finditer(line):
        if number := found[1]:
            between = line[end : found.start()]
            text += b'%b"%b"' % (between, number)
            nulls += b"%bnull" % between
            end = found.end()
    if not nulls:
        return b"", b""
    return bytes(text + line[end:]), bytes(nulls + line[end:])
