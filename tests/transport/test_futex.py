"""Sleeping on a word of shared memory, and what happens where that is forbidden."""

import ctypes
import mmap
import platform
import sys
import threading

import pytest

from rlay.transport import futex

needs_futex = pytest.mark.skipif(
    not futex.AVAILABLE, reason="this system has no futexes"
)


@pytest.fixture
def word():
    memory = memoryview(mmap.mmap(-1, 4096))
    return memory[:4].cast("I"), futex.address_of(memory, 0)


@needs_futex
def test_wait_returns_at_once_if_the_word_differs(word):
    """A word that is not the expected one is not waited for."""
    _, address = word
    futex.wait(address, 1, 60.0)


@needs_futex
@pytest.mark.parametrize("limit_s", [0.0, 1e-9, 0.001, -1.0])
def test_wait_ends_at_its_limit(word, limit_s):
    """A wait for nothing ends; a limit that is over already is none."""
    _, address = word
    futex.wait(address, 0, limit_s)


@needs_futex
def test_wake_wakes_who_sleeps(word):
    """A sleeper in another thread is woken."""
    cell, address = word
    woken = threading.Event()

    def sleep():
        while cell[0] == 0:
            futex.wait(address, 0, 60.0)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    cell[0] = 1
    futex.wake(address)
    assert woken.wait(20)
    thread.join()


@needs_futex
def test_limits_are_kept_only_so_many():
    """Any number of different limits takes only so much memory."""
    memory = memoryview(bytearray(4))
    for index in range(300):
        futex.wait(futex.address_of(memory, 0), 1, 0.001 + index / 1e6)
    assert len(futex._timespecs) <= 64


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ((sys, "platform"), "darwin"),
        ((platform, "machine"), lambda: "z80"),
        ((sys, "maxsize"), 2**31 - 1),
    ],
    ids=["another system", "an unknown machine", "32 bits"],
)
def test_unknown_systems_have_none(monkeypatch, what, value):
    """Where the call's number is not known, there is no futex."""
    monkeypatch.setattr(*what, value)
    assert futex._load() == (None, 0)


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_library_without_system_calls_has_none(monkeypatch, error):
    """Where the C library cannot be loaded or has no syscall, there is no futex."""

    def no_library(*args, **kwargs):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    assert futex._load() == (None, 0)


def test_forbidden_call_is_noticed(monkeypatch):
    """A sandbox that refuses the call is found out before anything relies on it."""

    class Library:
        @staticmethod
        def syscall(*args):
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: Library)
    assert futex._load() == (None, 0)
