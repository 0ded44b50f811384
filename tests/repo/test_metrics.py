"""config/metrics.md: every metric with its type, labels and meaning, and no other."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from spoolhouse.monitoring import exposition, metrics

CONFIG = Path(__file__).parents[2] / "config"
UNITS = ("_total", "_seconds", "_bytes", "_info")


def listed() -> list[list[str]]:
    """Return the cells of each row of the list."""
    rows = [line for line in (CONFIG / "metrics.md").read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_list_is_what_is_exposed() -> None:
    expected = [
        [
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labelnames),
            metric.documentation,
        ]
        for metric in metrics.ALL
    ]
    assert listed() == expected


def test_names_follow_the_conventions() -> None:
    for metric in metrics.ALL:
        name = metric.name
        assert name.startswith("spoolhouse_")
        assert name.endswith("_total") == (metric.kind == "counter"), name
        if metric.kind == "histogram":
            assert name.endswith(UNITS), name
        assert metric.documentation.endswith("."), name


def test_the_exposition_can_be_parsed_and_holds_nothing_else() -> None:
    families = list(text_string_to_metric_families(exposition.text().decode()))
    ours = {family.name for family in families if not family.name.startswith("process_")}
    assert ours == {metric.name.removesuffix("_total") for metric in metrics.ALL}
    assert {"process_resident_memory_bytes", "process_open_fds"} <= {family.name for family in families}
