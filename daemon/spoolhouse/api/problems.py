"""Turns errors into HTTP answers: a status, and JSON with a sentence and its fix."""

from collections.abc import Mapping

import msgspec
import structlog
from aiohttp import web

from spoolhouse.api.access import DeniedError, ForbiddenError
from spoolhouse.api.answers import MissingError
from spoolhouse.api.errors import BusyError, LateError, LongError, NoSpoolError, SpoolAwayError, SpoolFullError
from spoolhouse.errors import BadRequestError, QuestionTooLargeError, SpoolhouseError, StoreError, TransientError
from spoolhouse.query.wire import Problem

log = structlog.get_logger(__name__)

_AGAIN = {"Retry-After": "1"}
_STATUSES: Mapping[type[SpoolhouseError], int] = {
    DeniedError: 401, ForbiddenError: 403, BadRequestError: 400, MissingError: 404, QuestionTooLargeError: 504,
    LateError: 408, LongError: 413, BusyError: 503, NoSpoolError: 501, SpoolAwayError: 503, SpoolFullError: 507,
}  # fmt: skip


def explained(error: Exception, route: str) -> tuple[int, Problem]:
    """Return the status and the JSON of an error. An error that is a fault of ours is logged."""
    if isinstance(error, StoreError):
        return 503, Problem(error=error.message, fix=error.hint)
    status = next((code for kind, code in _STATUSES.items() if isinstance(error, kind)), 500)
    if isinstance(error, SpoolhouseError):
        text, _, fix = str(error).partition("; ")
        return status, Problem(error=text, fix=fix)
    log.error("question_failed", route=route, error=f"{type(error).__name__}: {error}")
    return status, Problem(error="the question failed: a fault in Spoolhouse", fix="its log has the reason")


def answered(error: Exception, route: str) -> web.Response:
    """Return the answer to a request that an error has ended."""
    status, problem = explained(error, route)
    return refused(
        status, problem, headers=_AGAIN if isinstance(error, BusyError | SpoolAwayError | TransientError) else None
    )


def refused(status: int, problem: Problem, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer with this status, whose body is `problem`."""
    body = msgspec.json.encode(problem)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")
