"""Whoever is asked to end does so once, and is asked no more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from meshward.instance.leaving import ENDS, ending_once


def ask_to_end(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture
def heard() -> Iterator[None]:
    """No signal is ignored, also where the tests run under `nohup`."""
    before = {
        each: signal.signal(each, signal.SIG_DFL) for each in ENDS if signal.getsignal(each) is signal.SIG_IGN
    }
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", ENDS)
def test_the_second_signal_interrupts_nobody(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in ENDS]
    with ending_once():
        with pytest.raises(KeyboardInterrupt):
            ask_to_end(number)
        try:
            for each in ENDS:
                ask_to_end(each)
        except KeyboardInterrupt:  # which would end all tests
            pytest.fail("it was asked twice")
    assert [signal.getsignal(each) for each in ENDS] == before


def test_what_was_ignored_stays_so() -> None:
    """As `nohup` has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_once():
            ask_to_end(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
