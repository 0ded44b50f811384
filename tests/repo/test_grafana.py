"""Grafana's files: its sources reach what they name, and each question of the dashboard has an answer."""

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml

from tests.engine import Database, Server
from tests.process.serving import serving
from tests.query.landed import NOW, land, log, prompt, span, trace
from tests.repo.test_monitoring import asked, series

GRAFANA = Path(__file__).parents[2] / "config" / "grafana"
SOURCES = GRAFANA / "datasources" / "spoolhouse.yaml"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "landed.json").read_text())
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUESTIONS = {title: target["rawSql"] for title, target in TARGETS if "rawSql" in target}
VARIABLES = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
QUESTIONS |= {f"variable {name}": one["query"] for name, one in VARIABLES.items() if one["type"] == "query"}
TOKEN = "token-0123456789abc"


def sources(text: str) -> dict[str, Any]:
    """Return the sources by what a panel calls them."""
    return {one["uid"]: one for one in yaml.safe_load(text)["datasources"]}


@pytest.fixture(scope="module")
def landed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database in which something of each type has landed."""
    events = [
        trace(1), span(1, attributes={"gen_ai.request.model": "m", "gen_ai.usage.cost": 0.5}),
        log(1, level="error"), prompt(1),
    ]  # fmt: skip
    with Database.new(server) as database:
        land(database, tmp_path_factory.mktemp("grafana") / "spool", events)
        yield database


def spelt(sql: str) -> str:
    """Return a question as Grafana and its plugin for ClickHouse send it, of an hour and one project."""
    first, last = (int((NOW + timedelta(minutes=minutes)).timestamp()) for minutes in (-59, 1))
    macros = {
        r"\$__timeFilter\((\w+)\)": rf"\1 >= toDateTime({first}) AND \1 <= toDateTime({last})",
        r"\$__timeInterval\((\w+)\)": r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)",
        r"\$\{project:singlequote\}": "'shop'",
        r"\$\{prefix\}": VARIABLES["prefix"]["query"],
    }
    for macro, text in macros.items():
        sql = re.sub(macro, text, sql)
    assert "$" not in sql, "an unknown macro or variable"
    return sql


def test_each_question_to_clickhouse_has_an_answer(landed: Database) -> None:
    found = {title: landed.query(spelt(sql)) for title, sql in QUESTIONS.items()}
    assert [title for title, rows in found.items() if not rows or None in rows[0]] == []
    assert found["variable project"] == [("shop",)]
    assert found["Cost of agents' calls"] == found["Cost of models in spans"] == [(0.5,)]
    assert found["Failed traces"] == [(1,)]


def test_each_question_to_prometheus_names_metrics_that_exist() -> None:
    names = {name for _, target in TARGETS if "expr" in target for name in asked(target["expr"]).names}
    assert {"spoolhouse_ready", "spoolhouse_not_taken"} <= names
    assert names <= series().keys()


def test_the_panels_have_sources_that_exist_and_places_of_their_own() -> None:
    known = {*sources(SOURCES.read_text()), "${prometheus}"}
    panels = DASHBOARD["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} <= known
    assert {target["datasource"]["uid"] for _, target in TARGETS} <= known
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len({*cells})
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_the_provider_names_the_folder_of_the_dashboard() -> None:
    [provider] = yaml.safe_load((GRAFANA / "dashboards" / "spoolhouse.yaml").read_text())["providers"]
    assert (provider["type"], Path(provider["options"]["path"]).is_absolute()) == ("file", True)


def test_the_source_for_traces_asks_what_is_answered_with_the_token(landed: Database, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} shop\n")
    with serving("--clickhouse-url", landed.http_url, "--tokens", tokens) as url:
        text = Template(SOURCES.read_text()).safe_substitute(SPOOLHOUSE_URL=url, SPOOLHOUSE_TOKEN=TOKEN)
        [jaeger] = [one for one in sources(text).values() if one["type"] == "jaeger"]
        header = {jaeger["jsonData"]["httpHeaderName1"]: jaeger["secureJsonData"]["httpHeaderValue1"]}
        paths = ["services", "services/shop/operations", "traces?service=shop", "traces/t001", "dependencies"]
        answers = [get(f"{jaeger['url']}/api/{path}", header) for path in paths]
        assert [status for status, _ in answers] == [200] * len(paths)
        assert [one["traceID"] for one in answers[2][1]["data"]] == ["t001"]
        assert get(f"{jaeger['url']}/api/services", {})[0] == 401


def test_the_environment_that_the_sources_need_is_named_in_their_head() -> None:
    head, _, rest = SOURCES.read_text().partition("apiVersion")
    assert {*re.findall(r"\$(\w+)", rest)} == {*re.findall(r"\b((?:SPOOLHOUSE|CLICKHOUSE)_\w+)", head)}


def get(url: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Return the status, and the JSON."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:  # noqa: S310  # ours
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None
