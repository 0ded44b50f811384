"""The fixture of the fault suite."""

from pathlib import Path

import pytest

from tests.engine import Database
from tests.faults.oracle import Oracle


@pytest.fixture
def oracle(database: Database, tmp_path: Path) -> Oracle:
    """A spool and a database with its schema, and what knows of each line that is written into them."""
    made = Oracle(spool=tmp_path / "spool", database=database)
    made.prepare()
    return made
