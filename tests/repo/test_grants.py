"""docs/grants.md holds what `spoolhouse check --grants` prints, for each kind of installation."""

import re
from pathlib import Path

import pytest

from tests.process.daemon import command

DOCUMENT = Path(__file__).parents[2] / "docs" / "grants.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))
KINDS = {
    "One server": "",
    "A schema that others manage": "migrate = false\n",
    "Several hosts that hold replicas": 'url = "clickhouse://a:9000,b:9000"\n',
    "A cluster with Keeper": 'cluster = "main"\n',
    "A cluster without Keeper": 'cluster = "main"\nkeeper = false\n',
}


def test_each_kind_has_a_section() -> None:
    assert list(SECTIONS) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_document_is_what_is_printed(kind: str, tmp_path: Path) -> None:
    """To renew one: put its settings into a file, and run `spoolhouse check --grants --config FILE`."""
    config = tmp_path / "spoolhouse.toml"
    config.write_text(f'[clickhouse]\ndatabase = "shop"\nusername = "spoolhouse"\n{KINDS[kind]}')
    done = command("check", "--grants", "--config", str(config))
    assert done.returncode == 0, done.stderr
    [block] = re.findall(r"```sql\n(.*?)```", SECTIONS[kind], re.DOTALL)
    assert block == done.stdout
    assert all(f"`{line}`" in SECTIONS[kind] for line in KINDS[kind].splitlines())
