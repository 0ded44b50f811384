"""The alert rules and the dashboard: what they ask for exists, with the labels that they ask by, and can be parsed."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from spoolhouse.monitoring import exposition, metrics

CONFIG = Path(__file__).parents[2] / "config"
RULES = yaml.safe_load((CONFIG / "prometheus-rules.yml").read_text())
DASHBOARD = json.loads((CONFIG / "grafana-dashboard.json").read_text())

SCRAPED = {"job", "instance"}
"""The labels that Prometheus itself puts on."""
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*", "$job": ".*"}
PARTS: dict[str | None, list[str]] = {"counter": [""], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


def series() -> Mapping[str, set[str]]:
    """Return the labels of each series that can be asked for."""
    known = {"up": SCRAPED}
    for metric in metrics.ALL:
        for part in PARTS[metric.kind]:
            known[metric.name + part] = {*metric.labelnames, *SCRAPED, *(["le"] if part == "_bucket" else [])}
    exposed = text_string_to_metric_families(exposition.text().decode())
    names = {sample.name for family in exposed for sample in family.samples}
    return known | {name: SCRAPED for name in names if name.startswith("process_")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an expression asks for."""

    names: set[str]
    labels: dict[str, set[str]]
    """By name, the labels that its values are chosen by."""
    grouped: set[str]
    """The labels that results are grouped or joined by."""


def asked(expression: str) -> Asked:
    """Parse an expression of PromQL; a ValueError says what is wrong with it."""
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, "an unknown variable"
    found = Asked(names=set(), labels={}, grouped=set())

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            name = str(node.name)
            found.names.add(name)
            found.labels.setdefault(name, set()).update(matcher.name for matcher in node.matchers.matchers)
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            found.grouped.update(node.modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None and node.modifier.matching:
            found.grouped.update(node.modifier.matching.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def alerts() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


def panels() -> list[dict[str, Any]]:
    return list(DASHBOARD["panels"])


def queries() -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each panel with each of its expressions."""
    for panel in panels():
        for target in panel.get("targets", ()):
            yield panel, target["expr"]


EXPRESSIONS = [alert["expr"] for alert in alerts()] + [expression for _, expression in queries()]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_exists(expression: str) -> None:
    known = series()
    found = asked(expression)
    assert found.names
    assert found.names <= known.keys()
    for name, labels in found.labels.items():
        assert labels <= known[name]
    assert found.grouped <= set.union(*(known[name] for name in found.names))


def test_the_parser_would_see_a_fault() -> None:
    with pytest.raises(ValueError, match=r".+"):
        asked("sum by (type (rate(spoolhouse_lines_total[5m])))")
    assert asked('rate(x{a="1"}[5m]) / on (b) sum by (c) (y)') == Asked(
        names={"x", "y"}, labels={"x": {"a"}, "y": set()}, grouped={"b", "c"}
    )


def test_every_metric_is_drawn() -> None:
    drawn = {name for _, expression in queries() for name in asked(expression).names}
    missing = [m.name for m in metrics.ALL if drawn.isdisjoint(m.name + part for part in PARTS[m.kind])]
    assert missing == [], "give each a panel in config/grafana-dashboard.json"


def test_an_alert_says_what_it_means_and_what_to_do() -> None:
    names = [alert["alert"] for alert in alerts()]
    assert len(names) == len(set(names))
    known = series()
    for alert in alerts():
        assert alert["labels"]["severity"] in {"warning", "critical"}
        texts = alert["annotations"]
        assert texts["summary"]
        assert texts["description"].endswith(".")
        labels = set.union(*(known[name] for name in asked(alert["expr"]).names))
        used = set(re.findall(r"\$labels\.(\w+)", texts["summary"] + texts["description"]))
        assert used <= labels, alert["alert"]
        assert promql_parser.parse_duration(alert.get("for", "1m"))


def test_the_panels_have_their_own_places() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert taken.isdisjoint(cells), panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_variables_are_defined() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert defined == {"datasource", "job", "instance"}
    for panel in panels():
        assert panel.get("datasource", {}).get("uid", "${datasource}") == "${datasource}"
