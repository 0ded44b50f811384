"""What decides how bytes become batches, as one short text."""

import hashlib
from collections.abc import Mapping

from spoolhouse.decode.line_decoder import DECODER_VERSION
from spoolhouse.events.declaration import EventType
from spoolhouse.spool.shipment import CHUNK_BYTES


def fingerprint(events: Mapping[str, EventType], url: str) -> str:
    """Return what a batch's rows and blocks depend on, as a short text: a shipment under another one is looked up.

    The way to ClickHouse counts: the server's own deduplication id is the token and the blocks that the rows came in,
    which each driver cuts in its own way.
    """
    material = repr(sorted(events.items(), key=lambda item: item[0]))
    scheme = url.partition(":")[0]
    return hashlib.sha256(f"{DECODER_VERSION} {CHUNK_BYTES} {scheme} {material}".encode()).hexdigest()[:16]
