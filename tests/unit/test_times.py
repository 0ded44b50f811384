"""Times: any ISO-8601 spelling, epoch numbers of four units, and nothing that the tables cannot hold."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoolhouse.decode import times
from spoolhouse.decode.reject import Reason, RejectedLineError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
# From here to the end every unit can be told from the others: 1e11 ms is in March 1973.
TOLD_APART = st.datetimes(datetime(1973, 3, 4), datetime(2099, 12, 31, 23, 59, 59)).map(  # noqa: DTZ001  # UTC is put on
    lambda time: time.replace(tzinfo=UTC)
)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T12:00:00Z",
        "2026-01-02 12:00:00",
        "2026-01-02T12",
        "2026-01-02T12:00",
        "20260102T120000Z",
        "2026-W01-5T12:00Z",
        "2026-01-02T17:30+05:30",
        "2026-01-02T17:30:00+0530",
        "2026-01-02T12:00:15+00:00:15",
        "2026-01-01T12:01:00.000000-23:59",
        "2026-01-02 12:00:00 UTC",
        "2026-01-02 12:00:00.000 GMT",
        "2026-01-02 12:00:00 +0000 UTC",
        "2026-01-02T13:00:00,000 +01:00",
        "2026-01-02 17:30:00.000 +0530",
        "2026/01/02 12:00:00",
        "Fri, 02 Jan 2026 12:00:00 GMT",
        "2 Jan 2026 13:00:00 +0100",
        "02/Jan/2026:12:00:00 +0000",
    ],
)
def test_one_time_has_many_spellings(text: str) -> None:
    assert times.from_text(text) == NOON
    assert times.from_text(text).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text", ["1767355200", "1767355200000", "1767355200000000", "1767355200000000000", "1767355200.0"]
)
def test_digits_are_an_epoch_number(text: str) -> None:
    assert times.from_text(text) == datetime.fromtimestamp(1767355200, UTC)


def test_eight_digits_are_a_date() -> None:
    assert times.from_text("20260102") == datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("digits", "microseconds"),
    [("1", 100_000), ("12", 120_000), ("123", 123_000), ("123456", 123_456), ("123456999", 123_456), (",5", 500_000)],
)
def test_digits_beyond_microseconds_are_cut_off(digits: str, microseconds: int) -> None:
    text = f"2026-01-02T12:00:00{digits if ',' in digits else '.' + digits}Z"
    assert times.from_text(text) == NOON + timedelta(microseconds=microseconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "12:00",
        "2026-13-01",
        "2026-02-29",
        "2026-01-02T25:00",
        "2026-01-02T12:00:60Z",
        "-1767355200",
        "17673552x",
        "2026-01/02 12:00:00",
        "2026/13/02 12:00:00",
        "2026-01-02 12:00:00 CET",
        "02/Foo/2026:12:00:00 +0000",
        "Fri, 32 Jan 2026 12:00:00 GMT",
        "Jan  2 12:00:00",
    ],
)
def test_what_is_no_time_is_rejected(text: str) -> None:
    with pytest.raises(RejectedLineError) as caught:
        times.from_text(text)
    assert caught.value.reason is Reason.BAD_TIME


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_beyond_the_calendar_is_absurd(text: str) -> None:
    with pytest.raises(RejectedLineError) as caught:
        times.from_text(text)
    assert caught.value.reason is Reason.ABSURD_TIME


@given(TOLD_APART)
def test_the_unit_of_an_epoch_number_is_told_by_its_size(time: datetime) -> None:
    microseconds = (time - EPOCH) // timedelta(microseconds=1)
    assert times.from_epoch(microseconds) == time
    assert times.from_epoch(microseconds * 1000 + 999) == time
    assert times.from_epoch(Decimal(microseconds * 1000)) == time
    assert times.from_epoch(microseconds // 1000) == time - timedelta(microseconds=microseconds % 1000)
    assert times.from_epoch(microseconds // 10**6) == time - timedelta(microseconds=microseconds % 10**6)


@given(TOLD_APART)
def test_a_float_keeps_its_fraction(time: datetime) -> None:
    assert abs(times.from_epoch((time - EPOCH) / timedelta(seconds=1)) - time) <= timedelta(microseconds=1)
    assert abs(times.from_epoch((time - EPOCH) / timedelta(milliseconds=1)) - time) <= timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("number", "time"),
    [
        (0, EPOCH),
        (-0.0, EPOCH),
        (0.5, EPOCH + timedelta(seconds=0.5)),
        (1, EPOCH + timedelta(seconds=1)),
        (10**11 - 1, datetime(5138, 11, 16, 9, 46, 39, tzinfo=UTC)),
        (10**11, datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
        (10**14, datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
        (10**17, datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)),
    ],
)
def test_where_one_unit_ends_and_the_next_begins(number: float, time: datetime) -> None:
    assert times.from_epoch(number) == time


@pytest.mark.parametrize("number", [-1, -1e-9, 10**20, 1e20, 2**80, 1e300])
def test_a_number_that_no_unit_explains_is_absurd(number: float) -> None:
    with pytest.raises(RejectedLineError) as caught:
        times.from_epoch(number)
    assert caught.value.reason is Reason.ABSURD_TIME


@given(st.integers() | st.floats(allow_nan=False) | st.datetimes())
def test_whatever_is_parsed_comes_within_reach_or_is_rejected(value: float | datetime) -> None:
    with suppress(RejectedLineError):
        assert times.EARLIEST <= times.from_parsed(value) < times.LATEST


def test_a_float_that_cannot_hold_what_was_written_is_not_trusted() -> None:
    """Nanoseconds as a float are off by up to 128: enough to fall into another millisecond."""
    assert times.from_parsed(float(1767355200_000000)) == NOON
    with pytest.raises(RejectedLineError):
        times.from_parsed(1767355200_123000000.0)


def test_a_time_without_an_offset_is_utc() -> None:
    assert times.from_parsed(NOON.replace(tzinfo=None)) == NOON
    assert times.from_parsed(NOON) is NOON


@pytest.mark.parametrize(
    ("time", "fits"),
    [
        (EPOCH, True),
        (EPOCH - timedelta(microseconds=1), False),
        (times.LATEST - timedelta(microseconds=1), True),
        (times.LATEST, False),
    ],
)
def test_the_reach_ends_with_the_tables(time: datetime, *, fits: bool) -> None:
    if fits:
        assert times.within_reach(time) is time
    else:
        with pytest.raises(RejectedLineError) as caught:
            times.within_reach(time)
        assert caught.value.reason is Reason.ABSURD_TIME
