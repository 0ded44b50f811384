"""`spoolhouse types`: the built-in types and those of one's own, as text and as JSON; its examples land."""

import json
from pathlib import Path

from spoolhouse.events.builtin import BUILT_IN
from spoolhouse.events.shapes import SHAPES
from tests.engine import Database
from tests.process.daemon import command, drop, once

EVENTS = Path(__file__).parents[2] / "config" / "events"
OWN = {"SPOOLHOUSE_EVENTS__FOLDER": str(EVENTS), "COLUMNS": "80"}


def test_all_types_are_listed_with_what_they_require() -> None:
    done = command("types", env=OWN)
    assert (done.returncode, done.stderr) == (0, "")
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.split("\n\n")[0].splitlines()}
    assert listed.keys() == {*BUILT_IN, "deployment"}
    assert listed["span"] == "id, traceId, name, startTime"


def test_each_type_is_explained_on_80_columns_with_an_example() -> None:
    for name in (*BUILT_IN, "deployment"):
        text = command("types", name, env=OWN).stdout
        assert max(map(len, text.splitlines())) <= 80, name
        example = text.partition("as one line:\n")[2].partition("\n\n")[0]
        assert name in {json.loads(example).get("type"), json.loads(example).get("event_type")}


def test_a_field_is_told_with_its_keys_its_choices_and_its_column() -> None:
    text = command("types", "log", env=OWN).stdout
    assert "level: choice, required" in text
    assert "one of debug, info, warn, error, fatal" in text
    assert "warn: also warning" in text
    assert "traceId: text, absent: NULL → trace_id" in text


def test_lines_of_other_programs_are_listed() -> None:
    text, page = command("types", env=OWN).stdout, command("types", "--markdown", env=OWN).stdout
    listed = json.loads(command("types", "--json", env=OWN).stdout)["shapes"]
    assert [shape["name"] for shape in listed] == [shape.name for shape in SHAPES]
    for shape in SHAPES:
        assert f"\n  {shape.name} " in text
        assert f"\n| {shape.name} |" in page


def test_a_shape_is_told_with_its_keys_and_what_becomes_of_its_lines() -> None:
    for shape in SHAPES:
        done = command("types", shape.name, env=OWN)
        assert (done.returncode, done.stderr) == (0, "")
        words = " ".join(done.stdout.split())
        assert words.startswith(f"{shape.name}: {shape.about}")
        for one in (*shape.keys, *shape.folders, *shape.becomes, *shape.becomes.values()):
            assert one.replace("`", "") in words
        own = json.loads(command("types", shape.name, "--json", env=OWN).stdout)
        assert (own["types"], [one["name"] for one in own["shapes"]]) == ([], [shape.name])
        page = command("types", shape.name, "--markdown", env=OWN).stdout
        assert (f"\n### {shape.name}\n" in page, page.count("\n### ")) == (True, 1)


def test_a_name_that_is_none_is_told_with_the_nearest() -> None:
    done = command("types", "spam", env=OWN)
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == "spoolhouse: no event type 'spam'; did you mean span?\n"


def test_every_example_lands(database: Database, tmp_path: Path) -> None:
    """Those of the JSON, and of a type of one's own too: each in the folder of its type, clean."""
    types = json.loads(command("types", "--json", env=OWN).stdout)["types"]
    for one in types:
        drop(tmp_path, one["name"], "shop", "a.jsonl", one["example"].encode() + b"\n")
    env = {"SPOOLHOUSE_SPOOL__PROJECT": "reject", "SPOOLHOUSE_EVENTS__UNKNOWN": "reject", **OWN}
    code, daemon = once(database.native_url, tmp_path, env=env)
    assert code == 0, daemon.told()
    records = {str(record["path"]): record for record in daemon.events("file_settled")}
    assert records.keys() == {f"{one['name']}/shop/a.jsonl" for one in types}
    for one in types:
        record = records[f"{one['name']}/shop/a.jsonl"]
        assert (record["rejected"], record["lines"], "converted" in record) == (0, 1, False)
        tables = {one["tables"][0].removeprefix("mastra_admin_")}
        assert isinstance(record["rows"], dict)
        assert tables <= record["rows"].keys()
