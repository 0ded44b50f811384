"""google-cloud-logging's handler for programs whose output an agent reads."""

# mypy: disable-error-code="import-not-found"
# The packages of requirements.txt are in an environment of their own, never in the one that checks types.

import logging

from google.cloud.logging_v2.handlers import StructuredLogHandler
from lib.fixed import SPAN_ID, TRACE_ID, log_some, out

log = logging.getLogger("shop.orders")
log.handlers[:] = [StructuredLogHandler(labels={"tier": "web"}, stream=out, project_id="shop-1")]
log.setLevel(logging.DEBUG)
log.propagate = False
log_some(log)
log.info(
    "With labels, a request and a trace",
    extra={
        "labels": {"order": "17"},
        "json_fields": {"order_id": 17, "nested": {"a": [1, None]}},
        "http_request": {"requestMethod": "GET", "requestUrl": "/orders", "status": 200, "latency": "0.012s"},
        "trace": f"projects/shop-1/traces/{TRACE_ID}",
        "span_id": SPAN_ID,
    },
)
log.info({"message": "A dictionary", "order_id": 18})
log.info({"note": "without a message"})
