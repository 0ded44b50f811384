"""The pictures of the README and the docs: `make screenshots` takes them anew, of the sample that the tests land."""

import asyncio
import base64
import json
import tempfile
from pathlib import Path

from tests.browser.chromium import find_browser
from tests.browser.person import Person
from tests.browser.sample import PROJECT, Sample, folders
from tests.process.daemon import Daemon, drop, lines

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"


async def take(address: str, sample: Sample, profile: Path) -> None:
    """Write all pictures."""
    places = {
        "traces": ("light", "traces", "#total"), "trace": ("light", f"trace/{sample.slow}", "#span-name"),
        "error": ("dark", f"trace/{sample.failed}", "#span-error"), "cost": ("light", "cost", "#spans-cost"),
    }  # fmt: skip
    async with find_browser().tab(profile, width=1280, height=640) as tab:
        person = Person(tab)
        for name, (scheme, place, there) in places.items():
            await tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            await person.open(address.replace("#/?", f"#/{place}?since=7d&project={PROJECT}&"))
            await person.see(there)
            await person.see("#state", "running")
            # It names the machine, and the folder.
            await tab.call("Runtime.evaluate", expression="document.querySelector('.foot').style.visibility = 'hidden'")
            picture = await tab.call("Page.captureScreenshot", format="png")
            (PICTURES / f"{name}.png").write_bytes(base64.b64decode(str(picture["data"])))


def main() -> None:
    """Land the sample, and look at it."""
    PICTURES.mkdir(exist_ok=True)
    sample = Sample()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Daemon(f"duckdb://{folder}/events.db", folder / "spool", http="any port") as daemon:
            kinds = list(folders(sample.events))
            for kind, events in kinds:
                drop(folder / "spool", kind, PROJECT, "sample.jsonl", lines(events))
            daemon.wait_for("file_settled", count=len(kinds))
            way = json.loads((folder / "events.db.daemon").read_bytes())
            asyncio.run(take(f"{way['url']}/#/?token={way['token']}", sample, folder / "profile"))


if __name__ == "__main__":
    main()
