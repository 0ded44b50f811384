"""Which declarations a shipment is read by: they may change while it is on its way."""

from collections.abc import Mapping
from dataclasses import dataclass

from spoolhouse.decode.line_decoder import LineDecoder
from spoolhouse.events.declaration import EventType, Table, tables
from spoolhouse.spool.shipment import Shipment


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclarationVersion:
    """Declarations, and the decoder that follows them."""

    events: Mapping[str, EventType]
    decoder: LineDecoder
    tables: Mapping[str, Table]


class DeclarationVersions:
    """All that were in force in this run, by the fingerprint that shipments are journalled under.

    A shipment of this run is read by the declarations that it was claimed under. One of an earlier run is read by those
    in force when it is read first, and by the same from then on: its rounds would differ else.
    """

    def __init__(self, events: Mapping[str, EventType], fingerprint: str) -> None:
        """Begin with one."""
        self._by_fingerprint: dict[str, DeclarationVersion] = {}
        self.follow(events, fingerprint)

    def follow(self, events: Mapping[str, EventType], fingerprint: str) -> None:
        """Read by other declarations what is claimed from now on."""
        # A copy: the caller's may change.
        own = dict(events)
        self._newest = DeclarationVersion(events=own, decoder=LineDecoder(own), tables=tables(own))
        self._by_fingerprint[fingerprint] = self._newest

    def of(self, shipment: Shipment) -> DeclarationVersion:
        """Return what the shipment is read by."""
        return self._by_fingerprint.setdefault(shipment.fingerprint, self._newest)
