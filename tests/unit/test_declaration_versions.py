"""What a shipment is read by while declarations come and go."""

from pathlib import Path

from spoolhouse.events import registry
from spoolhouse.settings.events import EventsSettings
from spoolhouse.spool.declaration_versions import DeclarationVersions
from spoolhouse.spool.shipment import Limits, Shipment

EXAMPLES = Path(__file__).parents[2] / "config" / "events"
LIMITS = Limits(max_rows=1, max_insert_bytes=1, side_bytes=1, max_line=1, project="warn")


def journalled(fingerprint: str) -> Shipment:
    return Shipment(
        id=fingerprint, instance="i", type="deployment", segments=(), clock_ms=0, fingerprint=fingerprint, limits=LIMITS
    )  # fmt: skip


def test_a_shipment_is_read_by_what_it_was_claimed_under() -> None:
    """Its type is declared no more, before it was read for the first time: its lines are none to reject."""
    events = registry.load(EventsSettings(folder=EXAMPLES))
    versions = DeclarationVersions(events, "first")
    without = registry.load(EventsSettings())
    registry.replace(events, without)
    versions.follow(without, "second")
    edition = versions.of(journalled("first"))
    assert {"deployment"} == edition.events.keys() - versions.of(journalled("second")).events.keys()
    assert edition.events["deployment"].table is edition.tables["deployments"]


def test_a_shipment_of_an_earlier_run_stays_with_what_read_it_first() -> None:
    versions = DeclarationVersions(registry.load(EventsSettings(folder=EXAMPLES)), "first")
    edition = versions.of(journalled("long ago"))
    assert "deployment" in edition.events
    versions.follow(registry.load(EventsSettings()), "second")
    assert versions.of(journalled("long ago")) is edition
