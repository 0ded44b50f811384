"""Python's logging and structlog into the spool, and on into rows."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from spoolhouse.export import SpoolHandler, SpoolProcessor, SpoolWriter
from tests.export.landed import Landed

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.Logger("shop.orders", logging.DEBUG)  # noqa: LOG001  # apart from those of the tests
    yield logger
    for handler in logger.handlers:
        handler.close()


def write_logs(logger: logging.Logger) -> None:
    logger.debug("read %s", "the cache", extra={"key": "a:1", "path": Path("/a"), "nan": float("nan")})
    logger.warning("slow \ud800", extra={"trace_id": TRACE, "span_id": SPAN})
    logger.info("not in a trace", extra={"otelTraceID": "0", "otelSpanID": "0"})
    try:
        raise LookupError("none")
    except LookupError:
        logger.exception("not paid")
    logger.critical("gave up")


def structured(writer: SpoolWriter, *, last: bool) -> Any:
    return structlog.wrap_logger(
        structlog.testing.ReturnLogger(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            SpoolProcessor(writer, project="structured", last=last),
            structlog.processors.JSONRenderer(),
        ],
    )


def test_logs_land_with_level_ids_and_attributes(log: logging.Logger, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    log.addHandler(SpoolHandler(spool, project="plain"))
    write_logs(log)
    with SpoolWriter(spool) as writer:
        one = structured(writer, last=True).bind(request="r-1")
        one.info("ordered", price=12.5, trace_id=TRACE)
        try:
            raise LookupError("none")
        except LookupError:
            one.exception("not paid")
    log.handlers[0].flush()
    landed = Landed(spool)

    rows = {row["message"]: row for row in landed.rows("logs", "plain")}
    assert {message: row["level"] for message, row in rows.items()} == {
        "read the cache": "debug", "slow \\ud800": "warn", "not in a trace": "info", "not paid": "error",
        "gave up": "fatal",
    }  # fmt: skip
    read = rows["read the cache"]["attributes"]
    assert (read["logger"], read["function"], read["key"]) == ("shop.orders", "write_logs", "a:1")
    assert (read["path"], read["nan"]) == (repr(Path("/a")), "nan")
    assert (rows["slow \\ud800"]["trace_id"], rows["slow \\ud800"]["span_id"]) == (TRACE, SPAN)
    assert rows["not in a trace"]["trace_id"] is None
    assert rows["not paid"]["attributes"]["exception"]["type"] == "LookupError"
    assert "write_logs" in rows["not paid"]["attributes"]["exception"]["stacktrace"]

    rows = {row["message"]: row for row in landed.rows("logs", "structured")}
    assert rows["ordered"]["attributes"] == {"request": "r-1", "price": 12.5}
    assert (rows["ordered"]["level"], rows["ordered"]["trace_id"]) == ("info", TRACE)
    assert rows["not paid"]["level"] == "error"
    assert rows["not paid"]["attributes"]["exception"]["message"] == "none"


def test_structlog_goes_on_after_the_processor(tmp_path: Path) -> None:
    with SpoolWriter(tmp_path) as writer:
        assert '"event": "a"' in structured(writer, last=False).info("a")


def test_a_disk_that_refuses_ends_no_program(log: logging.Logger, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "spool").write_text("no folder")
    log.addHandler(SpoolHandler(tmp_path / "spool", project="plain"))
    log.info("a")
    assert "Not a directory" in capsys.readouterr().err
