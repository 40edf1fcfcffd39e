"""Steps per second, from two looks."""

import dataclasses

import pytest

from rlay.cli.rates import Rates, steps_of
from rlay.transport.views import ChannelView, SlotView

SLOT = SlotView(1024, 1, 1, False, "step", 0, 0, 0, 1)


def view(name: str, sequence: int, session: str = "s") -> ChannelView:
    slot = dataclasses.replace(SLOT, sequence=sequence)
    return ChannelView(name, f"/dir/{name}", session=session, request=slot)


def test_rate_is_requests_by_seconds():
    """Of each channel by itself."""
    rates = Rates()
    rates.look([view("a", 100), view("b", 7)], now=10.0)
    found = rates.look([view("a", 400), view("b", 7)], now=12.0)
    assert found == {"a": pytest.approx(150.0), "b": 0.0}


def test_first_look_has_no_rate():
    """There is nothing to compare with."""
    assert Rates().look([view("a", 100)], now=1.0) == {"a": None}


def test_new_session_has_no_rate_yet():
    """Its numbers start again: the difference would mean nothing."""
    rates = Rates()
    rates.look([view("a", 1000, "one")], now=1.0)
    assert rates.look([view("a", 5, "two")], now=2.0) == {"a": None}
    assert rates.look([view("a", 25, "two")], now=3.0) == {"a": 20.0}


def test_rate_over_the_end_of_the_numbers_is_right():
    """They are 32 bits wide."""
    rates = Rates()
    rates.look([view("a", 2**32 - 10)], now=1.0)
    assert rates.look([view("a", 20)], now=2.0) == {"a": 30.0}


def test_channel_without_a_session_has_neither_steps_nor_rate():
    """None is not zero."""
    empty = ChannelView("a", "/dir/a")
    assert steps_of(empty) is None
    rates = Rates()
    rates.look([empty], now=1.0)
    assert rates.look([empty], now=2.0) == {"a": None}


def test_channel_that_came_and_went_is_forgotten():
    """A name may come back as another channel."""
    rates = Rates()
    rates.look([view("a", 100)], now=1.0)
    assert rates.look([], now=2.0) == {}
    assert rates.look([view("a", 200)], now=3.0) == {"a": None}


def test_two_looks_at_once_have_no_rate():
    """Nothing is divided by zero."""
    rates = Rates()
    rates.look([view("a", 100)], now=1.0)
    assert rates.look([view("a", 200)], now=1.0) == {"a": None}
