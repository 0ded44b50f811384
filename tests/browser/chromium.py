"""Find or fetch the browser, start it, and drive a tab of it over its debugging protocol."""

import asyncio
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.engine import EngineError
from tests.engine.fetch import Package, alone, cache_folder, check, npm_pack

PACKAGE = Package(
    name="@sparticuz/chromium",
    version="153.0.0",
    integrity="sha512-jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
)
REMEDY = "the tests of the status page need a browser: install npm (x86-64 Linux), or put `chromium` on PATH (others)"
FLAGS = (
    "--headless", "--no-sandbox", "--no-zygote", "--in-process-gpu", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
    "--remote-debugging-port=0",
)  # fmt: skip
_UNPACK = """
const fs = require("fs"), zlib = require("zlib"), { pipeline } = require("stream/promises");
const [, source, target] = process.argv;
pipeline(fs.createReadStream(source), zlib.createBrotliDecompress(), fs.createWriteStream(target))
"""


_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """An executable, and the folder of the libraries and fonts that came with it."""

    path: Path
    libraries: Path | None = None

    @asynccontextmanager
    async def tab(self, profile: Path, *flags: str, width: int, height: int) -> AsyncIterator["Tab"]:
        """Start it and yield its one tab, as large as a phone or a screen."""
        with self._running(profile, flags) as port:
            origin = f"http://127.0.0.1:{port}"
            async with aiohttp.ClientSession(origin) as session:
                async with session.get("/json/list") as answer:
                    [target] = [one for one in await answer.json() if one["type"] == "page"]
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    tab = Tab(socket)
                    await tab.call("Page.enable")
                    await tab.call("Runtime.enable")
                    await tab.call("Log.enable")
                    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < height}
                    await tab.call("Emulation.setDeviceMetricsOverride", **size)
                    yield tab

    @contextmanager
    def _running(self, profile: Path, flags: Sequence[str]) -> Iterator[int]:
        """Run it; yield the port of its debugging protocol."""
        env = dict(os.environ)
        if self.libraries is not None:
            env |= {"LD_LIBRARY_PATH": f"{self.libraries}/lib:{self.libraries}", "FONTCONFIG_PATH": str(self.libraries)}
        process = subprocess.Popen(
            [str(self.path), *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
        )
        try:
            yield _port(process)
        finally:
            process.kill()
            process.communicate()


class Tab:
    """A page in the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0
        self.complaints: list[str] = []
        """What the page's console and the browser itself had to complain of."""

    async def call(self, method: str, **parameters: object) -> dict[str, object]:
        """Call a method of the debugging protocol, and return its result."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": parameters})
        async with asyncio.timeout(30):
            while True:
                message = await self._socket.receive_json()
                if message.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}:
                    self.complaints.append(str(message["params"]))
                if message.get("id") == self._calls:
                    assert "error" not in message, message
                    result: dict[str, object] = message["result"]
                    return result

    async def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        await self.call("Page.navigate", url=url)
        await self.until(f"location.href.startsWith('{url}') && document.readyState === 'complete'")

    async def value(self, expression: str) -> object:
        """Return what an expression of JavaScript comes to; a promise is awaited."""
        result = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        value = result["result"]
        assert isinstance(value, dict)
        return value.get("value")

    async def until(self, expression: str, seconds: float = 30) -> None:
        """Return once an expression is true; fail after a while, with what the page shows then.

        An expression that fails is not true yet: the page may not have made what it asks for.
        """
        tolerant = f"(() => {{ try {{ return {expression} }} catch (error) {{ return false }} }})()"
        try:
            async with asyncio.timeout(seconds):
                while not await self.value(tolerant):  # noqa: ASYNC110  # the event is in another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = await self.value("document.body.innerText")
            raise AssertionError(f"not true: {expression}; shown: {shown}; {self.complaints}") from None


def find_browser() -> Browser:
    """Return the pinned browser, fetching it once; where there is none for this machine, the one on PATH."""
    if platform.system() != "Linux" or platform.machine().lower() not in {"x86_64", "amd64"}:
        for name in ("chromium", "chromium-browser", "google-chrome"):
            if (found := shutil.which(name)) is not None:
                return Browser(path=Path(found))
        raise EngineError(REMEDY)
    folder = cache_folder() / f"chromium-{PACKAGE.version}"
    if not (folder / "chromium").exists():
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / "lock"):
            if not (folder / "chromium").exists():
                _fetch(folder)
    return Browser(path=folder / "chromium", libraries=folder)


def _fetch(folder: Path) -> None:
    """Download, check and unpack; the executable appears last, and whole."""
    node = shutil.which("node")
    if node is None:
        raise EngineError(f"node is missing; {REMEDY}")
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as name:
        work = Path(name)
        tarball = npm_pack(PACKAGE, work)
        check(PACKAGE, tarball)
        with tarfile.open(tarball) as archive:
            archive.extractall(work, filter="data")
        for packed in ("al2023.tar", "swiftshader.tar", "fonts.tar", "chromium"):
            source = work / "package" / "bin" / f"{packed}.br"
            subprocess.run([node, "-e", _UNPACK, str(source), str(work / packed)], check=True, timeout=120)
        for packed in ("al2023.tar", "swiftshader.tar", "fonts.tar"):
            with tarfile.open(work / packed) as archive:
                archive.extractall(folder, filter="data")
        # Without a font a page has no text; the package's own list is of places on another machine.
        (folder / "fonts.conf").write_text(_FONTS.format(fonts=folder / "fonts", cache=folder / "fonts-cache"))
        (work / "chromium").chmod(0o755)
        (work / "chromium").replace(folder / "chromium")


def _port(process: "subprocess.Popen[str]") -> int:
    """Return the port that a browser says it listens on."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        if found := re.search(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
        said.append(line)
    raise EngineError(f"the browser ended with {process.wait()}: {''.join(said[-5:])}")
