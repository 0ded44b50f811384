"""The reference of the event types: what is committed is what `spoolhouse types` prints."""

from pathlib import Path

from tests.process.daemon import command

PAGE = Path(__file__).parents[2] / "docs" / "event-types.md"


def test_what_is_committed_is_what_is_printed() -> None:
    """To renew it: spoolhouse types --markdown > docs/event-types.md."""
    done = command("types", "--markdown", env={"SPOOLHOUSE_CONFIG": ""})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PAGE.read_text()
