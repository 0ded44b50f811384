"""The page of `spoolhouse serve`: over TLS, for those who have a token, of what ClickHouse has, and of the daemon."""

import asyncio
import base64
import hashlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser import find_browser
from tests.browser.person import Person
from tests.browser.sample import PROJECT, SLOW, SLOW_SPAN, Sample, folders
from tests.contract.proxy import proxy_to
from tests.engine import Database, Server
from tests.process.daemon import Daemon, drop, lines
from tests.process.serving import serving

OF_ALL, OF_SHOP = "all-token-0123456789", "shop-token-0123456789"


@pytest.fixture
def database(server: Server) -> Iterator[Database]:
    with Database.new(server) as made:
        yield made


def openssl(*words: str | Path, given: bytes | None = None) -> bytes:
    """Run it, and return what it prints."""
    done = subprocess.run(["openssl", *map(str, words)], input=given, check=True, capture_output=True)
    return done.stdout


def make_certificate(folder: Path) -> tuple[Path, Path, str]:
    """Make a certificate for this host that signs itself: its file, its key's, and the hash that a browser knows."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
        "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
    )  # fmt: skip
    public = openssl("x509", "-in", certificate, "-noout", "-pubkey")
    spki = openssl("pkey", "-pubin", "-outform", "der", given=public)
    return certificate, key, base64.b64encode(hashlib.sha256(spki).digest()).decode()


@asynccontextmanager
async def served(store: str, folder: Path, daemon: str) -> AsyncIterator[tuple[str, Person]]:
    """Serve the page over TLS, and yield its address with somebody whose browser trusts the certificate alone."""
    certificate, key, trusted = make_certificate(folder)
    tokens = folder / "tokens"
    tokens.write_text(f"{OF_ALL} *\n{OF_SHOP} {PROJECT}\n")
    page = serving(
        "--clickhouse-url", store, "--tokens", tokens, "--certificate", certificate, "--key", key, "--daemon", daemon
    )
    with ExitStack() as stack:
        url = await asyncio.to_thread(stack.enter_context, page)
        trust = f"--ignore-certificate-errors-spki-list={trusted}"
        async with find_browser().tab(folder / "profile", trust, width=1280, height=800) as tab:
            yield url, Person(tab)
        await asyncio.to_thread(stack.close)


async def test_over_tls_with_a_token_and_a_daemon_that_waits(database: Database, tmp_path: Path) -> None:
    sample, spool = Sample(traces=40), tmp_path / "spool"
    place = urlsplit(database.http_url)
    async with proxy_to("127.0.0.1", place.port or 0) as proxy:
        store = place._replace(netloc=place.netloc.replace(f":{place.port}", f":{proxy.port}")).geturl()
        with Daemon(store, spool, http="any port") as daemon:
            kinds = list(folders(sample.events))
            for kind, events in kinds:
                drop(spool, kind, PROJECT, "sample.jsonl", lines(events))
            await asyncio.to_thread(daemon.wait_for, "file_settled", count=len(kinds))
            status = str(daemon.events("http_listening")[0]["url"])
            async with served(store, tmp_path, status) as (url, person):
                assert url.startswith("https://")
                await person.open(f"{url}/")
                await person.see(".blank", "A token is needed.")
                assert await person.text("#state") == ""
                await person.open(f"{url}/#/?token={OF_SHOP}")
                await slowest_trace(person)
                await person.see(".judging", "this server knows no spool")
                await person.see("#state.good", "running")
                assert await of_daemon(person, OF_SHOP) == (None, [], [])
                assert (await of_daemon(person, OF_ALL))[0] == str(spool)

                proxy.refusing = True
                proxy.cut()
                drop(spool, "trace", PROJECT, "late.jsonl", lines([next(sample.of("trace"))]))
                for view in ("traces", "logs", "status"):
                    await person.open(f"{url}/#/{view}?project={PROJECT}&token={OF_ALL}")
                    await person.see("#state.wait", "waits")
                    await person.see("#reasons .since", "since ")
                    await person.see("#reasons .safe", "Nothing is lost: 1 file")
                proxy.refusing = False
                await person.see("#state.good", "running")
                await person.see("#files tr", f"trace/{PROJECT}/late.jsonl")

                await asyncio.to_thread(daemon.kill)
                await person.see("#state.bad", "does not answer")
                await person.see("#reasons li", "What is dropped waits in the spool")


async def slowest_trace(person: Person) -> None:
    """Find the slowest trace of the last hour, and what made it slow, in three clicks."""
    await person.click("[data-value='1h']")
    await person.see("[data-value='1h'][aria-pressed=true]")
    await person.click("[data-order=duration_ms]")
    await person.see("th[aria-sort=descending]", "Duration")
    await person.click("#traces tbody tr")
    await person.see("#span-name", SLOW_SPAN)
    assert person.clicks == 3
    assert await person.text(".head h1") == SLOW


async def of_daemon(person: Person, token: str) -> tuple[object, object, object]:
    """Return the spool, the last files and the types that the holder of a token is told of."""
    asked = f"fetch('status', {{ headers: {{ Authorization: 'Bearer {token}' }} }}).then((answer) => answer.text())"
    found = json.loads(str(await person.tab.value(asked)))
    return found["spool"], found["recent_files"], found["types"]
