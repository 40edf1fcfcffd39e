"""Lock files: who holds them, who looks, and who inherits nothing."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from rlay.errors import (
    ChannelClosed,
    ChannelCorrupt,
    ChannelError,
    ChannelNoSpace,
)
from rlay.transport import locks
from rlay.transport.locks import HeldLock, Probe, held_here, kept_free
from tests.support.channels import say
from tests.support.races import race
from tests.support.waiting import wait_until

PATH = "dir/lock"


@pytest.fixture
def fd(channel_directory):
    """The descriptor of a directory whose lock file goes at the end."""
    opened = os.open(channel_directory, os.O_RDONLY)
    yield opened
    os.close(opened)
    (channel_directory / "lock").unlink(missing_ok=True)


@pytest.fixture
def lock(fd):
    held = HeldLock.acquire(fd, "lock", PATH)
    assert held is not None
    yield held
    held.release()


def _probe(fd):
    return Probe(os.open("lock", os.O_RDONLY, dir_fd=fd), PATH)


@pytest.fixture
def probe(fd, lock):
    made = _probe(fd)
    yield made
    made.close()


def acquire_elsewhere(directory):
    """Runs in a child: say whether the lock can be had."""
    fd = os.open(directory, os.O_RDONLY)
    say("none" if HeldLock.acquire(fd, "lock", PATH) is None else "got it")


def hold_and_sleep(directory):
    """Runs in a child: hold the lock until the end."""
    fd = os.open(directory, os.O_RDONLY)
    held = HeldLock.acquire(fd, "lock", PATH)
    say("held" if held else "none")
    threading.Event().wait()


# ------------------------------------------------------------------- one process


def test_lock_excludes_and_is_released(fd, lock, probe):
    """A lock is held by one, until it lets go; letting go twice is harmless."""
    assert probe()
    assert HeldLock.acquire(fd, "lock", PATH) is None
    lock.release()
    lock.release()
    assert not probe()
    again = HeldLock.acquire(fd, "lock", PATH)
    assert again is not None
    assert probe()
    again.release()


def test_lock_knows_where_in_this_process_it_was_taken(fd, lock, probe):
    """The place is that of the caller outside RLay, and is forgotten afterwards."""
    with open(f"/proc/self/fd/{fd}/lock") as file:
        assert (held_here(file.fileno()) or "").startswith(f"{__file__}:")
        lock.release()
        assert held_here(file.fileno()) is None


def test_place_without_frames_outside_is_unknown(monkeypatch):
    """Where everything on the stack is RLay's, the place is unknown."""
    monkeypatch.setattr(sys, "_getframe", lambda depth: None)
    assert locks._caller() == "an unknown place"


def test_lock_file_in_place_of_something_else_is_refused(fd, channel_directory):
    """B10: a directory where the lock file should be is ChannelCorrupt."""
    (channel_directory / "lock").mkdir()
    try:
        with pytest.raises(ChannelCorrupt):
            HeldLock.acquire(fd, "lock", PATH)
    finally:
        (channel_directory / "lock").rmdir()


def test_looks_do_not_keep_anybody_from_the_lock(fd, lock, probe):
    """Looks collide with neither each other nor who wants the lock."""
    lock.release()
    stop, seen = threading.Event(), []

    def look():
        mine = _probe(fd)
        while not stop.wait(0.002):  # waiting ends look every 50 ms
            seen.append(mine())
        mine.close()

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(seen) > 100, what="looks")
    assert not any(seen)  # nobody took another look for a holder
    try:
        for _ in range(50):
            held = HeldLock.acquire(fd, "lock", PATH)
            assert held is not None
            held.release()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_closed_probe_touches_no_other_file(fd, lock, probe):
    """A look after close() raises, whatever has the descriptor's number now."""
    number = probe._fd
    probe.close()
    probe.close()
    other = os.open("lock", os.O_RDONLY, dir_fd=fd)
    assert other == number  # the system gives the lowest free number
    fcntl.flock(lock.fd, fcntl.LOCK_UN)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(ChannelClosed, match="closed meanwhile"):
        probe()
    with pytest.raises(BlockingIOError):  # still exclusive
        fcntl.flock(lock.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(other)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_b17_failing_lock_leaves_no_descriptor(fd, monkeypatch, number):
    """B17: an error of flock is one of RLay's, and the file is closed again."""

    def fail(*args):
        raise OSError(number, "x")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(ChannelError):
        HeldLock.acquire(fd, "lock", PATH)
    assert len(os.listdir("/proc/self/fd")) == before


def test_b17_look_that_fails_is_no_sign_of_death(probe, monkeypatch):
    """B17: a system out of locks raises; nobody is declared dead."""

    def fail(*args):
        raise OSError(errno.ENOLCK, "x")

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(ChannelNoSpace, match="no locks left"):
        probe()


def test_a17_interrupted_acquire_leaves_no_descriptor(fd, lock, monkeypatch):
    """A17: Ctrl-C while somebody's look is waited for leaks nothing."""

    def interrupt(seconds):
        raise KeyboardInterrupt

    lock.release()
    look = os.open("lock", os.O_RDONLY, dir_fd=fd)
    fcntl.flock(look, fcntl.LOCK_SH)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        HeldLock.acquire(fd, "lock", PATH)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(look)


# ---------------------------------------------------------------- many processes


def test_lock_of_a_killed_process_is_free(fd, children, channel_directory):
    """SIGKILL frees the lock at once, with nobody's help."""
    child = children.start(hold_and_sleep, channel_directory)
    child.wait_until_printed("held")
    look = _probe(fd)
    assert look()
    child.kill()
    assert not look()  # the kernel freed it before the process could be waited for
    look.close()


def test_lock_excludes_other_processes(fd, lock, children, channel_directory):
    """What is held here cannot be had there."""
    child = children.start(acquire_elsewhere, channel_directory)
    child.wait()
    assert child.stdout.strip() == "none"


@pytest.mark.parametrize("stale", [False, True], ids=["new", "left behind"])
def test_b11_race_of_a_hundred_has_one_winner(fd, channel_directory, stale):
    """B11: of a hundred that want the lock at once, exactly one gets it."""
    if stale:
        (channel_directory / "lock").touch(0o600)
    assert race(lambda: HeldLock.acquire(fd, "lock", PATH) is not None) == 1


def test_a22_subprocess_that_outlives_its_parent_holds_no_lock(
    fd, children, channel_directory
):
    """A22: a program that an environment started does not keep its lock."""
    child = children.start(hold_and_start_a_program, channel_directory)
    child.wait()
    look = _probe(fd)
    assert not look()
    look.close()
    os.kill(int(child.stdout), 9)


def hold_and_start_a_program(directory):
    """Runs in a child: hold the lock, leave a program behind, end."""
    fd = os.open(directory, os.O_RDONLY)
    held = HeldLock.acquire(fd, "lock", PATH)
    assert held is not None
    code = "import os, time; time.sleep(60)"
    command = [sys.executable, "-c", code]
    # close_fds=False: only the flag of the descriptor itself closes it.
    program = subprocess.Popen(command, close_fds=False, stdout=subprocess.DEVNULL)
    say(program.pid)
    os._exit(0)  # without the finalizer of Popen


def test_a23_lock_outlives_another_descriptor_of_its_file(fd, lock, probe):
    """A23: who opens and closes the lock file itself does not free the lock."""
    os.close(os.open("lock", os.O_RDWR, dir_fd=fd))
    with open(f"/proc/self/fd/{fd}/lock", "rb") as file:
        file.read()
    assert probe()
    assert HeldLock.acquire(fd, "lock", PATH) is None


def _in_fork(function):
    """Run a function in a forked child and assert that it returned."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a21_forked_child_holds_no_lock(fd, lock, probe):
    """A21: the lock is free once the parent let go, though the child lives."""
    reading, writing = os.pipe()
    forked = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writing)
        os.write(forked[1], b"1")
        os.read(reading, 1)  # until the parent closes its end
        os._exit(0 if lock.fd == -1 else 1)
    os.read(forked[0], 1)  # the child has given up what it inherited
    assert probe()
    lock.release()
    assert not probe()
    for number in (reading, writing, *forked):
        os.close(number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a21_child_that_lets_go_does_not_free_the_lock(fd, lock, probe):
    """A21: whatever the child does with its copy, the parent holds the lock."""
    _in_fork(lock.release)
    assert probe()


def test_a21_lock_of_a_dead_parent_is_free_though_its_child_lives(
    fd, children, channel_directory
):
    """A21: a child that outlives its killed parent does not keep its lock."""
    child = children.start(hold_and_fork, channel_directory, forever=True)
    child.wait_until_printed("forked")
    look = _probe(fd)
    assert look()
    child.kill()
    assert not look()
    look.close()
    os.kill(int(child.stdout.split()[1]), 9)


def hold_and_fork(directory):
    """Runs in a child: hold the lock and have a child that lives on."""
    fd = os.open(directory, os.O_RDONLY)
    held = HeldLock.acquire(fd, "lock", PATH)
    assert held is not None
    if not os.fork():
        say("forked", os.getpid())
    threading.Event().wait()


def test_a21_fork_during_a_look_does_not_stop_the_child(probe):
    """A21: the child can close a probe that another thread was just using."""
    with probe._guard:
        _in_fork(probe.close)


def test_a21_child_can_hold_locks_of_its_own(fd, lock, channel_directory):
    """A21: a forked child starts afresh."""

    def child():
        own = HeldLock.acquire(fd, "other", "dir/other")
        assert own is not None
        own.release()

    _in_fork(child)
    (channel_directory / "other").unlink()


def test_kept_free_lock_is_nobodys_until_the_end_of_the_block(fd, lock):
    """Who holds it is left alone; who wants it meanwhile waits a little, in vain."""
    look = os.open("lock", os.O_RDONLY, dir_fd=fd)
    try:
        with kept_free(look, PATH) as free:
            assert not free
        lock.release()
        with kept_free(look, PATH) as free:
            assert free
            assert HeldLock.acquire(fd, "lock", PATH) is None
        held = HeldLock.acquire(fd, "lock", PATH)
        assert held is not None
        held.release()
    finally:
        os.close(look)
