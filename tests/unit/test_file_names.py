"""Which names are taken."""

import pytest

from spoolhouse.file_names import FileNames, is_glob


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".bz2", ".xz", ".Gz", ".XZ"])
@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.ndjson", "a.json", "A.JSONL", "a.jsonl.jsonl", "a\n.json", "~.json", "a.1.json"]
)
def test_names_of_lines_are_taken_with_any_compression(name: str, packed: str) -> None:
    assert FileNames().take("span", name + packed)


@pytest.mark.parametrize(
    "name",
    [
        ".a.jsonl", ".jsonl", ".jsonl.gz", "a.jsonl.tmp", "a.jsonl.TMP", "a.jsonl.part", "a.jsonl.partial",
        "a.json.swp", "a.jsonl~", "a.jsonl.gz.tmp", "a.jsonl.tmp.gz", "a.gz", "a.txt", "a.jsonl.zip", "a.log",
        "jsonl", "processed", "",
    ],
)  # fmt: skip
def test_other_names_are_not(name: str) -> None:
    assert not FileNames().take("span", name)


def test_a_glob_of_a_type_is_for_its_folder_alone() -> None:
    names = FileNames()
    assert [names.take(kind, "app.LOG.gz") for kind in ("log", "span", "metric")] == [True, False, False]
    assert (names.of_type("log"), names.of_type("span")) == (
        ["*.jsonl", "*.ndjson", "*.json", "*.log"], ["*.jsonl", "*.ndjson", "*.json"]
    )  # fmt: skip


def test_globs_of_ones_own_replace_the_defaults() -> None:
    names = FileNames("*.events span/trace-[0-9]* *.json.gz")
    assert names.take("log", "A.Events.xz")
    assert names.take("span", "trace-12")
    assert not names.take("log", "trace-12")
    assert names.take("log", "a.json.gz")
    assert not names.take("log", "a.json")
    assert not names.take("log", "a.jsonl")
    assert not FileNames("*").take("log", "a.tmp")


@pytest.mark.parametrize("name", ["a.jsonl.replayed.jsonl", "a.rest-1f-2-300.jsonl"])
def test_what_replay_and_retry_drop_is_taken_whatever_the_globs_are(name: str) -> None:
    assert FileNames("*.events").take("span", name)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("*.jsonl", True), ("log/*.log", True), ("*", True), ("a", True),
        ("", False), ("/", False), ("log/", False), ("/a", False), ("a/b/c", False), (".x", False), ("log/.x", False),
        ("*.tmp", False), ("*~", False), ("a\0", False),
    ],
)  # fmt: skip
def test_what_a_glob_is(text: str, good: bool) -> None:
    assert is_glob(text) is good
