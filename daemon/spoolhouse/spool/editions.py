"""Which declarations a shipment is read by: they may change while it is on its way."""

from collections.abc import Mapping
from dataclasses import dataclass

from spoolhouse.core.declaration import EventType, Table, tables
from spoolhouse.core.jsonl import LineDecoder
from spoolhouse.core.shipment import Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """Declarations, and the decoder that follows them."""

    events: Mapping[str, EventType]
    decoder: LineDecoder
    tables: Mapping[str, Table]


class Editions:
    """All that were in force in this run. What was read once by one is read again by it, or its rounds would differ."""

    def __init__(self, events: Mapping[str, EventType], decoder: LineDecoder) -> None:
        """Begin with one."""
        self._by_fingerprint: dict[str, Edition] = {}
        self.follow(events, decoder)

    def follow(self, events: Mapping[str, EventType], decoder: LineDecoder) -> None:
        """Read by other declarations what is read for the first time from now on."""
        self._newest = Edition(events=events, decoder=decoder, tables=tables(events))

    def of(self, shipment: Shipment) -> Edition:
        """Return what the shipment is read by."""
        return self._by_fingerprint.setdefault(shipment.fingerprint, self._newest)
