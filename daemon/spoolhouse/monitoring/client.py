"""Fetch the status of a running daemon over HTTP, and judge it."""

import http.client
from urllib.parse import urlsplit

import msgspec

from spoolhouse.monitoring.status_model import Status

_TIMEOUT = 2.0
_LONGEST_ANSWER = 16 << 20


def judge(status: Status) -> tuple[str, str | None]:
    """Return the state of a daemon in a word, and a sentence about it, from its own status."""
    if not status.liveness.alive:
        stages = ", ".join(f"{stage} for {seconds:.0f} s" for stage, seconds in status.liveness.stuck.items())
        return "stuck", f"stages make no progress: {stages}; a restart is safe"
    held = [reason for reason in status.readiness.reasons if reason.held]
    if status.readiness.reasons:
        first = (held or status.readiness.reasons)[0]
        text = first.summary or f"{first.scope}: {first.error}"
        error = "" if first.error in text else f" ({first.error})"
        hint = f"; {first.hint}" if first.hint else ""
        return "held" if held else "waiting", f"{text}{error}{hint}"
    return status.readiness.state, status.paused and f"{status.paused}; spoolhouse resume"


def fetch(url: str) -> Status | str:
    """Return a daemon's status, or the reason why there is none. Bypasses any proxy."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host:
        return "not a URL"
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
