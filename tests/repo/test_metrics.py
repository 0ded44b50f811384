"""config/metrics.md: every metric with its type, labels and meaning, and no other."""

from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from spoolhouse import metrics

CONFIG = Path(__file__).parents[2] / "config"
UNITS = ("_total", "_seconds", "_bytes", "_info")


def declared() -> list[MetricWrapperBase]:
    """Return our own metrics in the order of their definition."""
    return [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]


def exposed_name(metric: MetricWrapperBase) -> str:
    return f"{metric._name}_total" if metric._type == "counter" else metric._name


def listed() -> list[list[str]]:
    """Return the cells of each row of the list."""
    rows = [line for line in (CONFIG / "metrics.md").read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_list_is_what_is_exposed() -> None:
    expected = [
        [
            f"`{exposed_name(metric)}`",
            metric._type,
            ", ".join(f"`{label}`" for label in metric._labelnames),
            metric._documentation,
        ]
        for metric in declared()
    ]
    assert listed() == expected


def test_names_follow_the_conventions() -> None:
    for metric in declared():
        name = exposed_name(metric)
        assert name.startswith("spoolhouse_")
        assert name.endswith("_total") == (metric._type == "counter"), name
        if metric._type == "histogram":
            assert name.endswith(UNITS), name
        assert metric._documentation.endswith("."), name


def test_the_exposition_can_be_parsed_and_holds_nothing_else() -> None:
    families = list(text_string_to_metric_families(generate_latest(metrics.REGISTRY).decode()))
    ours = {family.name for family in families if not family.name.startswith("process_")}
    assert ours == {metric._name for metric in declared()}
    assert {"process_resident_memory_bytes", "process_open_fds"} <= {family.name for family in families}
