"""The status page of a real daemon in a real browser: its figures, its chart, hostile names, a phone's width."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.browser import Browser, Tab, find_browser
from tests.engine import Database
from tests.process.daemon import Daemon, drop, lines
from tests.process.inputs import NOW, good, span

PREFIX = "mastra_admin_"
LOG = {"type": "log", "projectId": "p", "level": "info", "message": "m", "timestamp": NOW.isoformat()}
HOSTILE = "<img src=x onerror=alert(1)>.jsonl"
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser() -> Browser:
    return find_browser()


async def test_the_page_shows_what_happens(browser: Browser, database: Database, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    odd = lines([span("p", 2, **{"<b>field": 1})])
    drop(spool, "span", "p", f"{HOSTILE}.csv", b"")
    with Daemon(database.http_url, spool, http="any port") as daemon:
        url = str((await asyncio.to_thread(daemon.wait_for, "http_listening"))[0]["url"])
        async with browser.tab(tmp_path / "profile", **PHONE) as tab:
            await tab.open(url)
            await tab.until("document.getElementById('state').textContent === 'running'")
            drop(spool, "span", "p", HOSTILE, good("p", 2) + odd + b'{"type":"<b>"}\n')
            await tab.until("document.getElementById('files').innerText.includes('onerror')")
            assert HOSTILE in str(await tab.value("document.getElementById('files').innerText"))
            assert await tab.value("document.querySelectorAll('img, b').length") == 0, "names are text"
            await tab.until("document.body.innerText.includes('not taken')")
            assert f"{HOSTILE}.csv" in str(await tab.value("document.body.innerText"))
            assert "unknown_type" in str(await tab.value("document.getElementById('rejects').innerText"))
            landed = "[...document.querySelectorAll('#types tr')].find(r => r.innerText.startsWith('span')).innerText"
            figures = str(await tab.value(landed)).split(maxsplit=4)
            assert figures == ["span", "3", "1", "1", "unknown fields in 1 line: <b>field 1"]
            # Two points of the chart are five seconds apart.
            await tab.until("document.querySelectorAll('svg path.line').length === 2")
            drawn = str(
                await tab.value("[...document.querySelectorAll('svg path')].map(p => p.getAttribute('d')).join()")
            )
            assert "NaN" not in drawn
            await check_layout(tab)
            wide = "document.documentElement.scrollWidth <= window.innerWidth"
            assert await tab.value(wide), "nothing sticks out on a phone"
            daemon.kill()
            await tab.until("document.title === 'Spoolhouse: does not answer'")
            assert "span" in str(await tab.value("document.body.innerText")), "what was shown stays"
            # The one complaint is of the daemon's end.
            assert all("ERR_CONNECTION" in complaint for complaint in tab.complaints), tab.complaints


async def check_layout(tab: Tab) -> None:
    """No time and no figure is broken into lines, and each chart has one scale, with labels at its axes."""
    broken = await tab.value("""[...document.querySelectorAll('td:not(.long), th, .axis span')]
        .filter(cell => cell.getClientRects().length && cell.innerText.trim())
        .filter(cell => { const all = document.createRange(); all.selectNodeContents(cell);
            return new Set([...all.getClientRects()].map(r => Math.round(r.top))).size > 1 })
        .map(cell => cell.innerText)""")
    assert broken == []
    times = await tab.value("document.querySelector('#files tbody td').innerText")
    assert re.fullmatch(r"\d\d:\d\d:\d\d", str(times))
    for name in ("rows-chart", "pending-chart"):
        plot = f"document.getElementById('{name}').parentElement"
        scale = await tab.value(f"[...{plot}.querySelectorAll('.y span')].map(s => s.innerText)")
        assert isinstance(scale, list)
        top, middle, bottom = (float(str(label).replace(",", "")) for label in scale)
        assert (bottom, top) == (0, 2 * middle)
        assert top >= 1
        ends = await tab.value(f"[...{plot}.querySelectorAll('.x span')].map(s => s.innerText)")
        assert isinstance(ends, list)
        assert [bool(re.fullmatch(r"\d\d:\d\d:\d\d", str(end))) for end in ends] == [True, True]
        assert await tab.value(f"{plot}.querySelectorAll('path.line').length") == 1


async def test_the_page_names_what_is_held(browser: Browser, database: Database, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with Daemon(database.http_url, spool, http="any port") as daemon:
        await asyncio.to_thread(daemon.wait_for, "started")
        url = str(daemon.events("http_listening")[0]["url"])
        database.query(f"DROP TABLE {PREFIX}logs SYNC")
        drop(spool, "log", "p", "a.jsonl", lines([{**LOG, "id": "1"}]))
        async with browser.tab(tmp_path / "profile", width=1200, height=800) as tab:
            await tab.open(url)
            await tab.until("document.getElementById('state').textContent.startsWith('held')")
            reasons = str(await tab.value("document.getElementById('reasons').innerText"))
            assert f"{PREFIX}logs" in reasons
            assert "spoolhouse migrate" in reasons
            assert tab.complaints == []


async def test_the_page_names_the_server_that_is_away(browser: Browser, database: Database, tmp_path: Path) -> None:
    port = database.server.endpoint.http_port
    with Daemon(f"http://127.0.0.1:{port},127.0.0.1:1/{database.name}", tmp_path / "spool", http="any port") as daemon:
        await asyncio.to_thread(daemon.wait_for, "clickhouse_server_down")
        url = str(daemon.events("http_listening")[0]["url"])
        async with browser.tab(tmp_path / "profile", width=1200, height=800) as tab:
            await tab.open(url)
            await tab.until("document.getElementById('figures').innerText.includes('away: 127.0.0.1:1')")
            assert "1 of 2" in str(await tab.value("document.getElementById('figures').innerText"))
            assert tab.complaints == []
