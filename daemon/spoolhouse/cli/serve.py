"""`spoolhouse serve`: the explorer in a browser."""

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from spoolhouse.cli import asking, flags
from spoolhouse.errors import BadSettingError, UnreachableError
from spoolhouse.service import signals

if TYPE_CHECKING:
    from spoolhouse.settings import Settings
    from spoolhouse.settings.serving import HttpSettings

_EPILOG = """\
With a DuckDB file that a daemon has, the daemon serves the page itself: the
command prints its address, which has the token of that daemon, and ends.

Where a spool is named, scores and feedback can be added on the page: they are
written into the spool, and its daemon lands them.

Beyond this host, whoever asks needs a token. A file of them has one a line,
of 16 characters or more, and behind it the projects that its holder may ask
about, or * for all:

  Zn4pW8rT2kLm9QxA shop billing
  m0LdW3xYv7RqC2sE *

examples:
  spoolhouse serve --store-url clickhouse://db:9000 \\
      --daemon http://127.0.0.1:9464
  spoolhouse serve --listen 0.0.0.0:9465 --tokens /etc/spoolhouse/tokens \\
      --certificate cert.pem --key key.pem --allowed-hosts events.example
"""


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "serve",
        usage="spoolhouse serve [options]",
        help="show what has landed in a browser",
        description="Show what has landed in a browser: traces, logs, cost, scores, runs.",
        epilog=_EPILOG,
    )
    group = parser.add_argument_group("page")
    group.add_argument(
        "--listen", default="127.0.0.1:9465", metavar="HOST:PORT", help="(default: 127.0.0.1:9465); port 0: a free one"
    )
    group.add_argument(
        "--daemon", type=flags.url, action="append", default=[], metavar="URL",
        help="show the status of the daemon that serves HTTP there; of several, of the one that most needs attention "
        "(default: those of the spool, where one is named)",
    )  # fmt: skip
    group.add_argument("--tokens", type=Path, metavar="FILE", help="who may ask, and about which projects")
    group.add_argument("--certificate", type=Path, metavar="FILE", help="serve over TLS; PEM")
    group.add_argument("--key", type=Path, metavar="FILE", help="of the certificate, unless it is in that file")
    group.add_argument("--plain-http", action="store_true", help="beyond this host without TLS")
    group.add_argument(
        "--allowed-hosts", default="", metavar="NAMES", help="host names of the page, with commas between them"
    )
    flags.add_clickhouse(parser)
    flags.add_spool(parser)
    flags.add_general(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit code."""
    with signals.held_back(signals.STOPPING):
        settings = flags.settings(options)
        way = _daemons_page(settings)
        if way is not None:
            print(f"A daemon has this file, and serves it: {way}")
            return 0
        from spoolhouse.service import serve  # noqa: PLC0415  # --help needs none of this

        http = _checked(options)
        served = serve.Served(
            address=http.address or ("", 0),
            names=http.names,
            tokens=options.tokens,
            certificate=options.certificate,
            key=options.key,
            daemons=tuple(options.daemon),
            is_plain=options.plain_http,
            spool=None if settings.spool.storage_path is None else settings.spool.root,
        )
        asyncio.run(serve.serve(lambda: asking.client(settings), served, _show))
    return 0


def _show(url: str) -> None:
    print(f"{url}/", flush=True)


def _checked(options: argparse.Namespace) -> "HttpSettings":
    from pydantic import ValidationError  # noqa: PLC0415  # --help needs none of this

    from spoolhouse.settings.serving import OFF, HttpSettings  # noqa: PLC0415  # as above

    try:
        found = HttpSettings(listen=options.listen, allowed_hosts=options.allowed_hosts)
    except ValidationError as error:
        [wrong, *_] = error.errors()
        flag = f"--{'-'.join(str(wrong['loc'][0]).split('_'))}"
        raise BadSettingError(f"{flag}: {wrong['input']!r} is not accepted; accepted: {wrong['msg']}") from None
    if found.listen == OFF:
        raise BadSettingError("--listen: an address and a port are accepted")
    return found


def _daemons_page(settings: "Settings") -> str | None:
    """Return the address of the page of a daemon that has the database; None if there is none."""
    if settings.store.path is None:
        return None
    from spoolhouse.query import daemon_file  # noqa: PLC0415  # as above
    from spoolhouse.query.daemon import Daemon  # noqa: PLC0415  # as above
    from spoolhouse.query.wire import ValuesAnswer  # noqa: PLC0415  # as above

    way = daemon_file.read(daemon_file.beside(settings.store.path))
    if way is None:
        return None
    try:
        asyncio.run(Daemon(way).ask("projects", {"since": "1s"}, ValuesAnswer))
    except UnreachableError:
        return None  # it was killed
    return way.page
