"""The choices of built-in columns, and the names that other producers use for them.

`same` means exactly the choice; `near` loses something, so that the original is kept beside it. Both are in lower case;
numbers are spelt as text.
"""

from typing import Any

_FAILED = dict.fromkeys(
    ("failed", "failure", "fail", "cancelled", "canceled", "timeout", "timed_out", "aborted"), "error"
)
_GOOD = dict.fromkeys(("success", "succeeded", "successful"), "ok")
_DONE = dict.fromkeys(("completed", "complete", "done", "finished"), "ok")
_OPEN = dict.fromkeys(("running", "started", "pending", "in_progress", "unknown", "none", ""), "unset")

STATUS: dict[str, Any] = {
    "choices": {"unset": 0, "ok": 1, "error": 2},
    "same": {
        **{f"{prefix}{name}": name for prefix in ("status_code_", "statuscode.") for name in ("unset", "ok", "error")},
        **_GOOD,
    },
    "near": {"0": "unset", "1": "ok", "2": "error", "err": "error", **_FAILED, **_DONE, **_OPEN},
    "implied": {"error": "error", "errorInfo": "error", "error_info": "error", "exception": "error"},
}
"""The numbers are those of OpenTelemetry's StatusCode."""

_KINDS = ("internal", "server", "client", "producer", "consumer")
SPAN_KIND: dict[str, Any] = {
    "choices": {kind: number for number, kind in enumerate(_KINDS)},
    "same": {f"{prefix}{kind}": kind for prefix in ("span_kind_", "spankind.") for kind in _KINDS},
    "near": {
        **{str(number): kind for number, kind in enumerate(_KINDS, 1)},
        "0": "internal", "span_kind_unspecified": "internal", "unspecified": "internal", "": "internal",
    },
}  # fmt: skip
"""The numbers are those of OpenTelemetry's SpanKind, where 0 is unspecified."""

_SEVERITIES = ("debug", "debug", "info", "warn", "error", "fatal")
"""TRACE, DEBUG, INFO, WARN, ERROR, FATAL, as they are kept here: trace is debug."""
LOG_LEVEL: dict[str, Any] = {
    "choices": {"debug": 0, "info": 1, "warn": 2, "error": 3, "fatal": 4},
    "same": {"warning": "warn", "err": "error", "information": "info"},
    "near": {
        "trace": "debug", "verbose": "debug", "silly": "debug", "finest": "debug", "finer": "debug", "fine": "debug",
        "notice": "info", "success": "info", "log": "info", "informational": "info", "default": "info", "http": "info",
        "severe": "error", "exception": "error", "critical": "fatal", "crit": "fatal", "alert": "fatal",
        "emerg": "fatal", "emergency": "fatal", "panic": "fatal", "dpanic": "fatal",
        **{str(number): _SEVERITIES[(number - 1) // 4] for number in range(1, 25)},
        **{str(10 * (place + 1)): level for place, level in enumerate(_SEVERITIES)},
    },
}  # fmt: skip
"""Numbers are OpenTelemetry's SeverityNumber, from 1 to 24; but 10, 20, … 60 are the levels of pino and bunyan."""

METRIC_TYPE: dict[str, Any] = {
    "choices": {"counter": 0, "gauge": 1, "histogram": 2},
    "near": {
        "count": "counter", "sum": "counter", "updowncounter": "gauge", "up_down_counter": "gauge",
        "exponential_histogram": "histogram", "exponentialhistogram": "histogram", "summary": "histogram",
        "distribution": "histogram", "timer": "histogram", "timing": "histogram",
    },
}  # fmt: skip

AGENT_STATUS: dict[str, Any] = {
    "choices": {"success": 1, "error": 2, "timeout": 3, "assertion_failed": 4, "warning": 5},
    "same": {"ok": "success", "warn": "warning", "status_code_ok": "success", "status_code_error": "error"},
    "near": {
        "succeeded": "success", "completed": "success", "failed": "error", "failure": "error", "timed_out": "timeout",
    },
    "implied": {},
}  # fmt: skip
ENVIRONMENT: dict[str, Any] = {
    "choices": {"production": 1, "staging": 2, "development": 3},
    "same": {"prod": "production", "stage": "staging", "dev": "development"},
}
