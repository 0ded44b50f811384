"""The progress of a long command where no terminal shows a bar."""

import pytest

from spoolhouse.cli.estimate import Estimate


def test_sentences_are_few_and_say_how_long_it_takes_still(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter([0.0, 4.9, 6.0, 20.0, 40.0, 41.0, 90.0])
    with Estimate("files verified", 6, clock=lambda: next(times)) as estimate:
        for _ in range(6):
            estimate.advance()
    assert capsys.readouterr().err == (
        "2 of 6 files verified, about 12 s left\n4 of 6 files verified, about 20 s left\n"
    )
