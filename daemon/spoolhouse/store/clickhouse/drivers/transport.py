"""The way to a server: timeouts, trust and compression."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import lz4.frame
import zstandard
from msgspec import Struct

from spoolhouse.errors import BadSettingError


class Compression(StrEnum):
    """The compression of rows on their way."""

    NONE = "none"
    LZ4 = "lz4"
    ZSTD = "zstd"


class Tls(Struct, frozen=True, kw_only=True):
    """Trusted authorities and our own certificate; used only where the URL asks for TLS."""

    ca: Path | None = None
    """Certificates of the trusted authorities, in place of the system's."""
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True

    def context(self) -> ssl.SSLContext:
        """Return the client's TLS context; raises `BadSettingError` for an unusable file."""
        with _reading("clickhouse.tls_ca", self.ca):
            # Without a file the environment may name one (SSL_CERT_FILE), as for any program.
            context = ssl.create_default_context(cafile=self.ca)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if self.cert is not None:
            with _reading("clickhouse.tls_cert, clickhouse.tls_key", self.cert):
                # An empty password, so that OpenSSL never prompts for one: there may be no terminal.
                context.load_cert_chain(self.cert, self.key, password="")
        return context


@contextmanager
def _reading(setting: str, path: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # also an SSLError
        why = getattr(error, "reason", None) or error.strerror or str(error)
        raise BadSettingError(f"{setting}: {path} is not accepted ({why}); accepted: PEM files, no password") from error


class Transport(Struct, frozen=True, kw_only=True):
    """Timeouts, in seconds, TLS and compression of the connections to a server."""

    connect_timeout: float = 10.0
    """After this a server counts as unreachable."""
    timeout: float = 300.0
    """After this long a silence the connection counts as broken."""
    tls: Tls = Tls()
    compression: Compression = Compression.NONE


class Compressor(Protocol):
    """Compresses a stream piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Return the output that is ready; it may be empty."""

    def flush(self) -> bytes:
        """Return the remaining output, and end the stream."""


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
    """Return a compressor for one HTTP body; None for no compression."""
    match compression:
        case Compression.NONE:
            return None
        case Compression.LZ4:
            return _Lz4()
        case Compression.ZSTD:
            return zstandard.ZstdCompressor().compressobj()
