"""Errors are classified once; an unknown one is never the rows' fault."""

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.errors import OperatorError, RejectedDataError, TransientError
from spoolhouse.settings.clickhouse import ClickHouseSettings
from spoolhouse.store.clickhouse.codes import CODES, error, first_line, unreachable
from spoolhouse.store.clickhouse.drivers.url import parse

TRANSIENT = (159, 164, 202, 203, 209, 210, 241, 242, 243, 252, 285, 319, 425, 439, 999, 1001)
DATA = (6, 26, 27, 38, 41, 53, 69, 72, 117, 131, 349, 691)
OPERATOR = (16, 60, 62, 81, 192, 193, 194, 497, 516)


@pytest.mark.parametrize("code", TRANSIENT)
def test_transient(code: int) -> None:
    assert isinstance(error(code, "words"), TransientError)


@pytest.mark.parametrize("code", DATA)
def test_data(code: int) -> None:
    refusal = error(code, "words")
    assert isinstance(refusal, RejectedDataError)
    assert not refusal.ambiguous  # the server refused before it wrote anything


@pytest.mark.parametrize("code", OPERATOR)
def test_operator(code: int) -> None:
    refusal = error(code, "words")
    assert isinstance(refusal, OperatorError)
    assert refusal.hint


def test_an_insert_of_too_many_partitions_is_to_be_cut() -> None:
    words = "Too many partitions for single INSERT block (more than 100)."
    assert isinstance(error(252, words), RejectedDataError)
    assert isinstance(error(252, f"{words}: while pushing to view d.v"), TransientError)


@given(code=st.integers(-10, 10_000).filter(lambda code: code not in CODES))
def test_unknown_code_is_the_operators(code: int) -> None:
    refusal = error(code, "words")
    assert isinstance(refusal, OperatorError)
    assert refusal.code == code


def test_each_meaning_has_a_reason_and_an_operator_has_a_hint() -> None:
    for code, meaning in CODES.items():
        assert meaning.reason, code
        assert meaning.hint or meaning.decision is not OperatorError, code


@pytest.mark.parametrize("code", [209, 210, 236, 241, 243, 319, 394, 999, 1001])
def test_errors_that_can_come_after_a_commit_are_ambiguous(code: int) -> None:
    assert error(code, "words").ambiguous


@pytest.mark.parametrize("code", [164, 202, 242])
def test_errors_that_come_before_anything_is_written_are_not(code: int) -> None:
    assert not error(code, "words").ambiguous


def test_drivers_word_makes_it_ambiguous() -> None:
    assert error(60, "words", ambiguous=True).ambiguous


@pytest.mark.parametrize("code", [6, 41, 60, 12345])
def test_error_of_a_view_is_the_operators_and_ambiguous(code: int) -> None:
    refusal = error(code, "Cannot parse string: while pushing to view db.hourly (1-2-3)")
    assert isinstance(refusal, OperatorError)
    assert refusal.ambiguous


def test_error_of_a_view_that_passes_stays_transient() -> None:
    refusal = error(241, "memory limit exceeded: while pushing to view db.hourly")
    assert isinstance(refusal, TransientError)
    assert refusal.ambiguous


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (516, "clickhouse.username and clickhouse.password"),
        (81, "clickhouse.database"),
        (60, "`spoolhouse migrate`"),
        (241, "batch.max_bytes"),
        (452, "clickhouse.username"),
    ],
)
def test_the_hint_names_the_setting(code: int, words: str) -> None:
    assert words in error(code, "").hint


def test_missing_right_is_named() -> None:
    message = (
        "ann: Not enough privileges. To execute this query, it's necessary to have the grant INSERT(a, b) ON db.logs."
    )
    assert error(497, message).hint == "GRANT INSERT(a, b) ON db.logs to the user of clickhouse.username"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "Code: 60. DB::Exception: Table x does not exist. (UNKNOWN_TABLE) (version 26.7.2.1)\n",
            "Table x does not exist",
        ),
        ("DB::Exception: Table x does not exist. Stack trace:\n\n0. ? @ 0x1", "Table x does not exist. Stack trace"),
        ("Code: 41. DB::Exception: Bad time: while executing 'FUNCTION f(a :: 1)': more. (X) (version 1)", "Bad time"),
        ("Code: 6. DB::Exception: x (at row 3)\n: \nRow 2:\nColumn 0, name: a", "x (at row 3)"),
        ("Y. (NO_ZOOKEEPER) (version 26.9.2.1 (official build))", "Y"),
        ("", ""),
    ],
)
def test_first_line(message: str, line: str) -> None:
    assert first_line(message) == line


@given(st.text(max_size=2000))
def test_message_is_one_bearable_line(text: str) -> None:
    line = str(error(60, text))
    assert "\n" not in line
    assert len(line) < 1000


def test_unreachable_says_the_cause_and_names_the_url() -> None:
    failure = RuntimeError("wrapped")
    failure.__cause__ = ConnectionRefusedError(111, "Connection refused")
    result = unreachable("clickhouse://db:9000/default", failure, ambiguous=True)
    assert isinstance(result, TransientError)
    assert result.ambiguous
    assert "Connection refused" in str(result)
    assert "clickhouse.url" in result.hint


def test_the_default_url_is_told_from_one_that_was_named() -> None:
    places = [parse(url).shown for url in (ClickHouseSettings().url, "clickhouse://db:9000")]
    hints = [unreachable(place, TimeoutError(), ambiguous=False).hint for place in places]
    assert ["--store-url duckdb:///file.db" in hint for hint in hints] == [True, False]


def test_silence_has_a_name() -> None:
    assert "TimeoutError" in str(unreachable("clickhouse://db:9000/default", TimeoutError(), ambiguous=False))


def test_untrusted_certificate_is_the_operators() -> None:
    failure = ssl.SSLCertVerificationError(1, "certificate verify failed")
    failure.verify_message = "self-signed certificate"
    assert isinstance(unreachable("https://db:8443/default", failure, ambiguous=True), OperatorError)
