"""The declarations that each shipment is read by: they may change while a shipment is under way."""

from collections.abc import Mapping

from msgspec import Struct

from spoolhouse.decode.line_decoder import LineDecoder
from spoolhouse.events.declaration import EventType, Table, tables
from spoolhouse.spool.shipment import Shipment


class DeclarationVersion(Struct, frozen=True, kw_only=True):
    """Declarations, and the decoder for them."""

    events: Mapping[str, EventType]
    decoder: LineDecoder
    tables: Mapping[str, Table]


class DeclarationVersions:
    """All versions in force during this run, by the fingerprint that shipments are journalled under.

    A shipment of this run is read by the declarations of its claim. One of an earlier run is read by those in force at
    its first reading, and by the same ones later: its rounds would differ otherwise.
    """

    def __init__(self, events: Mapping[str, EventType], fingerprint: str) -> None:
        """Begin with one version."""
        self._by_fingerprint: dict[str, DeclarationVersion] = {}
        self.follow(events, fingerprint)

    def follow(self, events: Mapping[str, EventType], fingerprint: str) -> None:
        """Use other declarations for shipments that are claimed from now on."""
        # A copy: the caller's mapping may change.
        own = dict(events)
        self._newest = DeclarationVersion(events=own, decoder=LineDecoder(own), tables=tables(own))
        self._by_fingerprint[fingerprint] = self._newest

    def of(self, shipment: Shipment) -> DeclarationVersion:
        """Return the version that the shipment is read by."""
        return self._by_fingerprint.setdefault(shipment.fingerprint, self._newest)
