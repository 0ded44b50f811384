"""How bytes get to a server: how long it may take, who is trusted, and whether they are compressed."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import lz4.frame
import zstandard

from spoolhouse.errors import BadSettingError


class Compression(StrEnum):
    """What rows are compressed with on their way."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Whom to trust, and as whom to appear; of use only where the URL asks for TLS."""

    ca: Path | None = None
    """Certificates of the authorities that are trusted, in place of the system's."""
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Return the client's side of TLS; raises `BadSettingError` for a file that is of no use."""
        with _reading("clickhouse.tls_ca", self.ca):
            # Where no file is named, the environment may (SSL_CERT_FILE), as for any program.
            context = ssl.create_default_context(cafile=self.ca)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            with _reading("clickhouse.tls_cert, clickhouse.tls_key", self.cert):
                # No password is ever asked for: a terminal would be, otherwise, where there may be none.
                context.load_cert_chain(self.cert, self.key, password="")
        return context


@contextmanager
def _reading(setting: str, path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # an SSLError is one, too
        why = getattr(error, "reason", None) or error.strerror or str(error)
        raise BadSettingError(f"{setting}: {path} is not accepted ({why}); accepted: PEM files, no password") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """The way to a server. Both times are seconds."""

    connect_timeout: float = 10.0
    """Until a server counts as unreachable."""
    timeout: float = 300.0
    """Until its silence counts as a broken connection."""
    tls: Tls = Tls()
    compression: Compression = Compression.NONE


class Compressor(Protocol):
    """Compresses a stream piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready of all that was given so far; it may be nothing."""

    def flush(self) -> bytes:
        """Return the rest, and end the stream."""


class _Lz4:
    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._head: bytes = self._frame.begin()

    def compress(self, data: bytes, /) -> bytes:
        ready: bytes = self._frame.compress(data)
        ready, self._head = self._head + ready, b""
        return ready

    def flush(self) -> bytes:
        rest: bytes = self._frame.flush()
        return self._head + rest


def compressor(compression: Compression) -> Compressor | None:
    """Return what compresses one HTTP body; None where it goes as it is."""
    match compression:
        case Compression.NONE:
            return None
        case Compression.LZ4:
            return _Lz4()
        case Compression.ZSTD:
            return zstandard.ZstdCompressor().compressobj()
