"""The fence: a pair of lock calls that survives being interrupted between them."""

import threading

import pytest

from rlay.transport import ordering


class Recorder:
    """A lock that notes what is done to it."""

    def __init__(self):
        self.calls = []
        self.interrupt_next_acquire = False
        self._lock = threading.Lock()

    def acquire(self):
        if self.interrupt_next_acquire:
            self.interrupt_next_acquire = False
            raise KeyboardInterrupt
        self.calls.append("acquire")
        return self._lock.acquire()

    def release(self):
        self._lock.release()
        self.calls.append("release")


@pytest.fixture
def lock(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(threading, "Lock", lambda: recorder)
    return recorder


def test_fence_releases_then_acquires(lock):
    """The order in which the calls make a full fence."""
    fence = ordering.make_fence()
    lock.calls.clear()
    fence()
    fence()
    assert lock.calls == ["release", "acquire"] * 2


def test_a17_fence_works_after_an_interruption_in_its_middle(lock):
    """A17: Ctrl-C between the two calls does not break the next fence."""
    fence = ordering.make_fence()
    lock.interrupt_next_acquire = True
    with pytest.raises(KeyboardInterrupt):
        fence()
    lock.calls.clear()
    fence()
    assert lock.calls[-2:] == ["release", "acquire"]  # a full one again
    lock.calls.clear()
    fence()
    assert lock.calls == ["release", "acquire"]
