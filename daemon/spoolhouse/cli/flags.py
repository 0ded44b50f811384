"""Flags that several commands share, and the settings from them.

A flag for a setting is stored under the setting's dotted name; an absent flag is None.
"""

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from spoolhouse.errors import SpoolError
from spoolhouse.monitoring.logs import configure

if TYPE_CHECKING:
    from spoolhouse.settings import Settings


def add_general(parser: argparse.ArgumentParser) -> None:
    """Add --config and --debug."""
    group = parser.add_argument_group("general")
    group.add_argument("--config", type=Path, metavar="PATH", help="read settings from this TOML file")
    group.add_argument(
        "--debug", dest="log.level", action="store_const", const="debug", help="log everything, and show tracebacks"
    )


def add_clickhouse(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the address of the store, and for the user of ClickHouse."""
    group = parser.add_argument_group("store")
    group.add_argument(
        "--store-url",
        dest="store.url",
        metavar="URL",
        help="duckdb:///file.db for a file without a server, or as --clickhouse-url",
    )
    group.add_argument(
        "--clickhouse-url",
        dest="clickhouse.url",
        metavar="URL",
        help="clickhouse://host:9000 (native), http://host:8123, or chdb:///folder (embedded)",
    )
    group.add_argument("--clickhouse-username", dest="clickhouse.username", metavar="NAME", help="default: default")
    group.add_argument(
        "--clickhouse-password",
        dest="clickhouse.password",
        metavar="PASSWORD",
        help="others can read it in the process list: better SPOOLHOUSE_CLICKHOUSE__PASSWORD_FILE",
    )
    group.add_argument("--clickhouse-database", dest="clickhouse.database", metavar="NAME", help="default: default")


def add_spool(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the spool's folder."""
    group = parser.add_argument_group("spool")
    group.add_argument(
        "--file-storage-path",
        dest="spool.storage_path",
        metavar="FOLDER",
        help="the folder that holds the spool",
    )
    group.add_argument(
        "--base-path",
        dest="spool.base_path",
        metavar="PATH",
        help="the spool inside it (default: observability; may be empty)",
    )


def settings(options: argparse.Namespace) -> "Settings":
    """Return the settings from the flags and all other sources; configure logging. Raises BadSettingError."""
    result = read(options)
    configure(level=result.log.level, style=result.log.format, secrets=result.secrets())
    return result


def read(options: argparse.Namespace) -> "Settings":
    """Return the current settings from the flags and all other sources. Raises BadSettingError."""
    from spoolhouse.settings.sources import load  # noqa: PLC0415  # --help needs no pydantic

    return load({name: value for name, value in vars(options).items() if "." in name}, config=options.config)


def spool(settings: "Settings") -> Path:
    """Return the folder of the spool as an absolute path, with its links kept.

    Raises BadSettingError without a folder, `SpoolError` if it is missing or unreadable for us.
    """
    root = Path(os.path.abspath(settings.spool.root))  # noqa: PTH100  # `resolve` would follow the links
    hint = "set spool.storage_path and spool.base_path (--file-storage-path, --base-path) to the spool"
    try:
        os.scandir(root).close()
    except FileNotFoundError:
        raise SpoolError(f"{root}: no such folder; {hint}") from None
    except NotADirectoryError:
        raise SpoolError(f"{root}: this is no folder; {hint}") from None
    except PermissionError:
        raise SpoolError(f"{root}: not readable by this user; run it as the daemon's user, or as root") from None
    except OSError as error:
        raise SpoolError(f"{root}: {error.strerror}; {hint}") from error
    return root


def count(text: str) -> int:
    """Return a whole number above 0, for argparse: it names the flag."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return number


def whole(text: str) -> int:
    """Return a whole number from 0 up, for argparse."""
    return 0 if text.strip() == "0" else count(text)


def url(text: str) -> str:
    """Return the address of a daemon, for argparse."""
    try:
        parts = urlsplit(text)
        good = parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL such as http://127.0.0.1:9464")
    return text


def rate(text: str) -> float:
    """Return a finite number above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return number
