"""`spoolhouse serve`: the page and its API over ClickHouse, who may ask what, and where it refuses to listen."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine import Database
from tests.faults.life import wait_until
from tests.process.daemon import Daemon, command, drop, once
from tests.process.inputs import good
from tests.process.serving import serving
from tests.query.landed import land, log, trace

OF_SHOP, OF_ALL = "shop-token-0123456789", "all-token-0123456789"


def ask(url: str, route: str, *, token: str | None = None, **fields: object) -> tuple[int, Any]:
    """Return the status, and what the JSON says."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{url}/api/v1/{route}", json.dumps(fields).encode(), headers)  # noqa: S310  # ours
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # as above
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def ids(answer: tuple[int, Any]) -> Sequence[str]:
    status, page = answer
    assert status == 200, page
    return [one["trace_id"] for one in page["records"]]


def test_the_page_and_its_api_over_clickhouse(database: Database, tmp_path: Path) -> None:
    land(database, tmp_path / "spool", [trace(0), trace(1)])
    land(database, tmp_path / "spool", [trace(7, projectId="billing"), log(1, projectId="billing")], project="billing")
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# who\n{OF_SHOP} shop\n{OF_ALL} *\n")
    with serving("--clickhouse-url", database.http_url) as url:
        with urllib.request.urlopen(f"{url}/", timeout=60) as page:  # noqa: S310  # ours
            assert 'data-serves="api"' in page.read().decode()
            assert "trusted-types 'none'" in page.headers["Content-Security-Policy"]
        assert ask(url, "projects") == (200, {"values": ["billing", "shop"]})
        assert ids(ask(url, "traces", project="shop")) == ["t000", "t001"]
    spool = ("--file-storage-path", tmp_path / "spool", "--base-path", "")
    with serving("--clickhouse-url", database.http_url, "--tokens", tokens, *spool) as url:
        with urllib.request.urlopen(f"{url}/", timeout=60) as page:  # noqa: S310  # ours
            assert 'data-serves="api daemon token write"' in page.read().decode()
        assert ask(url, "projects")[0] == ask(url, "projects", token="x")[0] == 401
        assert ask(url, "projects", token=OF_SHOP) == (200, {"values": ["shop"]})
        assert ids(ask(url, "traces", project="shop", token=OF_SHOP)) == ["t000", "t001"]
        foreign: list[dict[str, object]] = [
            {"project": "billing"}, {"all_projects": True}, {"project": "shop", "all_projects": True}, {}
        ]  # fmt: skip
        assert [ask(url, "traces", token=OF_SHOP, **asked)[0] for asked in foreign] == [403] * 4
        assert ask(url, "trace", project="billing", trace_id="t007", token=OF_SHOP)[0] == 403
        assert ask(url, "trace", project="shop", trace_id="t007", token=OF_SHOP)[0] == 404, "as a missing one"
        assert ask(url, "sql", statement="SELECT 1", token=OF_SHOP)[0] == 403
        assert ask(url, "sql", statement="SELECT 1", token=OF_ALL)[0] == 200
        assert ids(ask(url, "traces", project="billing", token=OF_ALL)) == ["t007"]
        of_shop, of_all = status(url, OF_SHOP), status(url, OF_ALL)
        assert str(tmp_path) in json.dumps(of_all)
        assert str(tmp_path) not in json.dumps(of_shop), "paths and errors are of all projects"
        assert of_shop["readiness"]["reasons"][0]["summary"] == "daemon: waits for a person."


def test_the_daemons_of_a_spool_are_found(database: Database, tmp_path: Path) -> None:
    spool, tokens = tmp_path / "spool", tmp_path / "tokens"
    tokens.write_text(f"{OF_SHOP} shop\n{OF_ALL} *\n")
    of_spool = ("--file-storage-path", str(spool), "--base-path", "")
    drop(spool, "span", "shop", "a.jsonl", good("shop", 1))
    former = {"SPOOLHOUSE_HTTP__LISTEN": "127.0.0.1:0", "SPOOLHOUSE_SPOOL__APPEND_WATCH": "3600"}
    assert once(database.http_url, spool, env=former)[0] == 0
    with serving("--clickhouse-url", database.http_url, "--tokens", tokens, *of_spool) as url:
        wait_until(lambda: states(url) == ("silent", None))
        with Daemon(database.http_url, spool, http="any port") as daemon:
            daemon.wait_for("adopted")  # the former one's folder is still there, and is not taken for a daemon
            wait_until(lambda: states(url) == ("running", daemon.pid))
            assert command("pause", "--reason", "the shop: owes us", *of_spool, env=dict(os.environ)).returncode == 0
            wait_until(lambda: states(url) == ("paused", daemon.pid))
            since, _, reason = status(url, OF_ALL)["paused"].partition(": ")
            assert (since[:8], reason) == ("since 20", "the shop: owes us")
            assert status(url, OF_SHOP)["paused"] == since, "the operator's words are not for those of a project"
            daemon.kill()
        wait_until(lambda: states(url) == ("silent", None))


def states(url: str) -> tuple[str, int | None]:
    """Return the daemon's state, and its process."""
    told = status(url, OF_ALL)
    return told["state"], told["pid"]


def status(url: str, token: str | None = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/status", headers=headers), timeout=60) as answer:  # noqa: S310  # ours
        return json.loads(answer.read())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "0.0.0.0:0"], "--tokens"),
        (["--listen", "0.0.0.0:0", "--tokens", "good"], "--plain-http"),
        (["--listen", "nowhere"], "--listen: 'nowhere'"),
        (["--tokens", "missing"], "missing: "),
        (["--tokens", "short"], "short, line 1: "),
        (["--certificate", "short"], "--certificate: "),
    ],
)
def test_it_refuses_what_others_could_read(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "good").write_text(f"{OF_SHOP} shop\n")
    (tmp_path / "short").write_text("abc shop\n")
    monkeypatch.chdir(tmp_path)
    done = command("serve", "--clickhouse-url", "http://127.0.0.1:1", *arguments, env=dict(os.environ))
    assert (done.returncode, said in done.stderr) == (78, True), done.stderr
    assert done.stdout == ""


def test_a_daemon_with_the_file_serves_the_page_itself(tmp_path: Path) -> None:
    url = f"duckdb://{tmp_path}/events.db"
    with Daemon(url, tmp_path / "spool", http="any port") as daemon:
        daemon.wait_for("started")
        done = command("serve", "--store-url", url, env=dict(os.environ))
        assert done.returncode == 0
        way = done.stdout.split()[-1]
        page, _, token = way.partition("/#/?token=")
        assert ask(page, "projects", token=token) == (200, {"values": []})
