"""How soon the page is there: Chromium's own times, on loopback, of a page that is new to it, and of one that it has.

The page is that of a daemon with a week of a shop's events in a DuckDB file.
"""

import asyncio
import json
import statistics
import tempfile
from pathlib import Path

from tests.browser import Tab, find_browser
from tests.browser.sample import PROJECT, Sample, folders
from tests.process.daemon import Daemon, drop, lines

ROUNDS = 9
_TIMES = """new Promise((tell) => new PerformanceObserver((list) => {
    const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
    const all = performance.getEntriesByType("resource");
    tell([paint, list.getEntries().at(-1).startTime, all.length + 1,
        all.concat(performance.getEntriesByType("navigation")).reduce((sum, one) => sum + one.transferSize, 0)]);
}).observe({ type: "largest-contentful-paint", buffered: true }))"""


def run() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory(prefix="spoolhouse-bench-") as name:
        folder = Path(name)
        with Daemon(f"duckdb://{folder}/events.db", folder / "spool", http="any port") as daemon:
            kinds = list(folders(Sample().events))
            for kind, events in kinds:
                drop(folder / "spool", kind, PROJECT, "sample.jsonl", lines(events))
            daemon.wait_for("file_settled", count=len(kinds))
            way = json.loads((folder / "events.db.daemon").read_bytes())
            asyncio.run(_measure(f"{way['url']}/#/traces?project={PROJECT}&token={way['token']}", folder / "profile"))


async def _measure(url: str, profile: Path) -> None:
    async with find_browser().tab(profile, width=1280, height=800) as tab:
        for name, keeps in (("new", False), ("seen before", True)):
            await _open(tab, url)
            taken = []
            for _ in range(ROUNDS):
                if not keeps:
                    await tab.call("Network.clearBrowserCache")
                taken.append(await _open(tab, url))
            paint, largest, requests, size = (statistics.median(one) for one in zip(*taken, strict=True))
            least = min(one[0] for one in taken)
            print(
                f"page, {name}: first paint after {paint:.0f} ms (the best {least:.0f}; wanted: 300), traces"
                f" after {largest:.0f} ms; {requests:.0f} requests, {size / 1000:.0f} kB"
            )


async def _open(tab: Tab, url: str) -> list[float]:
    """Open the page, and return when it was painted first, and largest, the requests, and their bytes."""
    await tab.call("Page.navigate", url="about:blank")
    await tab.until("location.href === 'about:blank'")
    await tab.call("Page.navigate", url=url)
    await tab.until(
        "document.querySelector('#traces tbody tr') !== null && document.querySelector('#total') !== null", 90
    )
    found = await tab.value(_TIMES)
    assert isinstance(found, list)
    return found
