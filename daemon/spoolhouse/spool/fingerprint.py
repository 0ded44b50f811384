"""The inputs that decide how bytes become batches, as one short text."""

import hashlib
from collections.abc import Mapping

from spoolhouse.decode.line_decoder import DECODER_VERSION
from spoolhouse.events.declaration import EventType
from spoolhouse.events.shapes import SHAPES
from spoolhouse.spool.shipment import CHUNK_BYTES


def fingerprint(events: Mapping[str, EventType], url: str) -> str:
    """Return a short text for all that decides a batch's rows and blocks: under another one, presence is checked.

    The driver counts: the server's deduplication id is the token and the blocks, and each driver cuts blocks in its own
    way.
    """
    material = repr((sorted(events.items(), key=lambda item: item[0]), [shape.name for shape in SHAPES]))
    scheme = url.partition(":")[0]
    return hashlib.sha256(f"{DECODER_VERSION} {CHUNK_BYTES} {scheme} {material}".encode()).hexdigest()[:16]
