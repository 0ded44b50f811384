"""Loguru with serialize=True: the record is nested, the text beside it."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

from typing import Any

from lib.fixed import SPAN_ID, TRACE_ID, RangeError, out
from loguru import logger


def fix(record: dict[str, Any]) -> None:
    record["elapsed"] = type(record["elapsed"])(milliseconds=12)


logger.remove()
logger.add(out, serialize=True, level="TRACE", backtrace=False, diagnose=False)
log = logger.patch(fix)
log.trace("Looked up")
log.debug("Read the cache")
log.info("Ordered {}", "a book", order_id=981273498123, price=12.5)  # noqa: PLE1205 - Loguru formats with braces
log.success("Paid")
log.warning("Slow")
log.bind(trace_id=TRACE_ID, span_id=SPAN_ID).error("Not paid")
try:
    raise RangeError
except RangeError:
    log.exception("Not paid")
log.critical("Gave up")
with logger.contextualize(request_id="r-1", nested={"a": [1, None]}):
    log.info("In a context")
