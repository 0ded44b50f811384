"""ecs-logging: the formatter of the standard library and the one of structlog."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

import ecs_logging
import structlog
from lib.fixed import SPAN_ID, TRACE_ID, RangeError, log_some, logger, out

plain = logger(ecs_logging.StdlibFormatter(extra={"service.name": "shop", "service.environment": "production"}))
log_some(plain)
plain.error("Correlated", extra={"trace": {"id": TRACE_ID}, "span.id": SPAN_ID, "http": {"request": {"method": "GET"}}})

structlog.configure(
    processors=[structlog.processors.add_log_level, ecs_logging.StructlogFormatter()],
    logger_factory=structlog.PrintLoggerFactory(out),
)
log = structlog.get_logger("shop.orders")
log.info("ordered", order_id=17, **{"trace.id": TRACE_ID})
try:
    raise RangeError
except RangeError:
    log.error("not paid", exc_info=True)  # noqa: G201 - the processor that would render the other is not in this chain
