"""Fetch the status of a running daemon over HTTP."""

from urllib.parse import urlsplit

import msgspec

from spoolhouse.monitoring.status_model import Status

_TIMEOUT = 2.0
_LONGEST_ANSWER = 16 << 20


def fetch(url: str) -> Status | str:
    """Return a daemon's status, or the reason why there is none. Bypasses any proxy."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        return "not a URL"
    import http.client  # noqa: PLC0415  # most commands ask no daemon

    connection = http.client.HTTPConnection(host, port or 80, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/status")
        body = connection.getresponse().read(_LONGEST_ANSWER)
        return msgspec.json.decode(body, type=Status)
    except TimeoutError:
        return f"no answer in {_TIMEOUT:g} s"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    except ValueError:
        return "the answer is not from a Spoolhouse of this version"
    finally:
        connection.close()
