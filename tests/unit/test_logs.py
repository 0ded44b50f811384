"""Logs: whatever the data is, one line that can be read, without a secret in it."""

import io
import json
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.monitoring import logs
from spoolhouse.monitoring.logs import Plain

Written = Callable[[], str]

SECRET = "p/ss wörd"


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """What was written to standard error since the last look; afterwards logging is as it was."""
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers, logging.getLogger().level
    yield lambda: capsys.readouterr().err
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers, root.level = handlers, level


def records(written: Written) -> list[dict[str, object]]:
    return [json.loads(line) for line in written().splitlines()]


def test_a_line_has_time_level_and_event_first(written: Written) -> None:
    logs.configure(style="json")
    structlog.get_logger("x").info("file_settled", rows={"spans": 3}, path=Path("a/b"))
    (record,) = records(written)
    assert list(record) == ["timestamp", "level", "event", "rows", "path"]
    assert str(record["timestamp"]).endswith("Z")
    assert record["level"] == "info"
    assert record["rows"] == {"spans": 3}
    assert record["path"] == "a/b"


def test_a_level_keeps_what_is_below_it_out(written: Written) -> None:
    logs.configure(level="warning", style="json")
    logger = structlog.get_logger()
    logger.info("not_this")
    logger.warning("this")
    logging.getLogger("library").info("not this")
    logging.getLogger("library").warning("but %s", "this")
    logging.getLogger("library").error("bad %d", "format")
    assert [(r["event"], r.get("message")) for r in records(written)] == [
        ("this", None),
        ("library_message", "but this"),
        ("library_message", "bad %d"),
    ]


def test_warnings_are_logged(written: Written) -> None:
    logs.configure(style="json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure(style="json")
        warnings.warn("old way", stacklevel=1)
    (record,) = records(written)
    assert record["library"] == "py.warnings"
    assert "old way" in str(record["message"])


def test_the_lines_of_a_block_are_written_at_its_end_also_of_one_that_fails(written: Written) -> None:
    logs.configure(style="json")
    log = structlog.get_logger()
    with suppress(ValueError), logs.together():
        log.info("first")
        other = threading.Thread(target=lambda: log.info("of another thread"))
        other.start()
        other.join()
        assert [record["event"] for record in records(written)] == ["of another thread"]
        raise ValueError
    log.info("second")
    assert [record["event"] for record in records(written)] == ["first", "second"]


def test_names_and_bytes_that_are_no_text_become_escapes(written: Written) -> None:
    logs.configure(style="json")
    structlog.get_logger().info(
        "odd", name="a\udcffb", path=Path("/\udcfe"), raw=b"\xff\0", lone="\ud800", nan=float("nan")
    )
    (record,) = records(written)
    assert record["name"] == "a\\xffb"
    assert record["path"] == "/\\xfe"
    assert record["raw"] == "\\xff\0"
    assert record["lone"] == "\\ud800"
    assert record["nan"] == "nan"


def test_numbers_of_any_size_and_class_are_written_as_numbers(written: Written) -> None:
    class Whole(int):
        """As a library may have one."""

    class Real(float):
        """The same, as NumPy's."""

    logs.configure(style="json")
    structlog.get_logger().info("odd", whole=Whole(5), real=Real(2.5), large=2**70, signal=signal.SIGTERM)
    (record,) = records(written)
    assert [record[name] for name in ("whole", "real", "large", "signal")] == [5, 2.5, 2**70, 15]


def test_a_terminal_is_not_steered_by_data(written: Written) -> None:
    logs.configure(style="console")
    structlog.get_logger().info("file_settled", path="\x1b[2Jx\r\nfaked", nested={"a": ["\x1b[31m"]}, rtl="\u202e")
    (line,) = written().splitlines()
    assert line.isprintable()
    assert "\\x1b[2Jx\\r\\nfaked" in line


def test_a_traceback_keeps_its_lines(written: Written) -> None:
    logs.configure(style="console")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        structlog.get_logger().exception("crashed")
    assert "ZeroDivisionError" in written().splitlines()[-1]


def test_secrets_are_hidden_wherever_they_stand(written: Written) -> None:
    for style in ("json", "console"):
        logs.configure(style="json" if style == "json" else "console", secrets=[SECRET, ""])
        logger = structlog.get_logger()
        logger.info("connecting", url=f"http://u:{SECRET}@h", deep={"a": [{"b": SECRET}]}, **{SECRET: 1})
        logger.info("quoted", url="http://u:p%2Fss%20w%C3%B6rd@h", raw=SECRET.encode())
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            logger.exception("failed", error=error)
        logging.getLogger("library").warning("with %s", SECRET)
    text = written()
    assert text.count("***") >= 12
    assert "p/ss" not in text
    assert "p%2Fss" not in text


def test_what_cannot_be_written_stops_no_work(monkeypatch: pytest.MonkeyPatch, written: Written) -> None:
    logs.configure(style="json")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    structlog.get_logger().info("unheard")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner),
)


@given(st.dictionaries(st.text(), values))
def test_any_value_becomes_strict_json(data: dict[str, object]) -> None:
    plain = Plain([SECRET])(None, "info", dict(data))
    json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()


@given(st.text(st.characters(codec=None)))
def test_any_name_can_be_shown_in_one_line(name: str) -> None:
    shown = logs.shown(name)
    assert shown.isprintable()
    if name.isprintable():
        assert shown == name
