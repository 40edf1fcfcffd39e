"""What a forked child gives up, at once."""

import os

import pytest

from rlay.transport import forks

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="this system does not fork"
)


class Thing:
    def __init__(self, name, log):
        self.name, self.log = name, log

    def abandon(self):
        os.write(self.log, self.name)


def _fork(child):
    """Run ``child`` in a forked process; return its exit code."""
    pid = os.fork()
    if not pid:
        code = 99
        try:
            code = child() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_a21_what_lives_is_abandoned_in_the_child_only(pipe):
    """A21: each living thing is told once in the child, and never in the parent."""
    reading, writing = pipe
    things = [Thing(b"a", writing), Thing(b"b", writing)]
    for thing in [*things, Thing(b"dead", writing)]:
        forks.close_in_child(thing)
    del thing
    assert _fork(lambda: 0) == 0
    assert sorted(os.read(reading, 100)) == sorted(b"ab")


def test_a21_grandchild_is_not_told_again(pipe):
    """A21: what the child has given up is nothing to its own children."""
    reading, writing = pipe
    thing = Thing(b"a", writing)
    forks.close_in_child(thing)
    assert _fork(lambda: _fork(lambda: 0)) == 0
    assert os.read(reading, 100) == b"a"


def test_a21_thing_made_in_the_child_is_told_in_its_children(pipe):
    """A21: a child that opens a channel of its own protects it from its children."""
    reading, writing = pipe

    def child():
        thing = Thing(b"c", writing)
        forks.close_in_child(thing)
        return _fork(lambda: 0)

    assert _fork(child) == 0
    assert os.read(reading, 100) == b"c"
