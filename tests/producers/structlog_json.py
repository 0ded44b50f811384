"""structlog as its guide configures it for production."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

from typing import Any

import structlog
from lib.fixed import SPAN_ID, TRACE_ID, RangeError, out


def configure(*processors: Any, time: str | None = "iso") -> Any:
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.TimeStamper(fmt=time, utc=True),
            *processors,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    return structlog.get_logger()


# Without the locals that dict_tracebacks adds: they name objects by their place in memory.
tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
log = configure(tracebacks)
log.debug("read the cache", key="a:1", hit=False)
log.info("ordered", order_id=981273498123, price=12.5, tags=["a", "b"])
log.warning("slow", duration_ms=812.25, nested={"a": [1, None]})
structlog.contextvars.bind_contextvars(trace_id=TRACE_ID, span_id=SPAN_ID)
log.error("not paid", user=None)
try:
    raise RangeError
except RangeError:
    log.exception("not paid")
structlog.contextvars.clear_contextvars()
log.critical("gave up")
log.bind(request_id="r-1").info("in a child")

log = configure(structlog.processors.format_exc_info, structlog.processors.EventRenamer("message"), time=None)
log.info("the time is a number and the event is called message")
try:
    raise RangeError
except RangeError:
    log.exception("not paid")
