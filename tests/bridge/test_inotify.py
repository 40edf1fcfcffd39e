"""What the kernel tells of files, and what a bridge makes of it."""

import asyncio
import os

import pytest

from rlay.bridge import inotify as module
from rlay.bridge.inotify import CLOSE_WRITE, CREATED, REMOVED, Inotify
from tests.bridge.peers import until


def watched(scene):
    """Run a scene with an inotify of the running loop."""

    async def run():
        inotify = Inotify(asyncio.get_running_loop())
        try:
            await scene(inotify)
        finally:
            inotify.close()
            inotify.close()

    asyncio.run(run())


def touch(file):
    """Open a file for writing, and close it."""
    with open(file, "a"):
        pass


def test_files_that_come_and_go_are_told(tmp_path):
    """Also those that are renamed into place."""

    async def scene(inotify):
        told: list[int] = []
        inotify.watch(str(tmp_path), CREATED | REMOVED, lambda: told.append(1))
        for act in (
            lambda: (tmp_path / "a").mkdir(),
            lambda: (tmp_path / "a").rename(tmp_path / "b"),
            lambda: (tmp_path / "b").rmdir(),
        ):
            told.clear()
            act()
            await until(lambda: told, "it is told")

    watched(scene)


def test_file_that_was_open_for_writing_is_told_when_it_is_closed(tmp_path):
    """As a lock file is when its holder ends."""
    file = tmp_path / "lock"
    file.touch()

    async def scene(inotify):
        told = []
        inotify.watch(str(file), CLOSE_WRITE, lambda: told.append(1))
        touch(file)
        await until(lambda: told, "it is told")

    watched(scene)


def test_looking_tells_nothing(tmp_path):
    """A probe opens lock files all the time, for reading."""
    file = tmp_path / "lock"
    file.touch()

    async def scene(inotify):
        told = []
        inotify.watch(str(file), CLOSE_WRITE, lambda: told.append(0))
        file.read_bytes()
        (tmp_path / "other").touch()
        inotify.watch(str(tmp_path / "other"), CLOSE_WRITE, lambda: told.append(1))
        touch(tmp_path / "other")
        await until(lambda: told, "the other one is told")
        assert told == [1]

    watched(scene)


def test_forgotten_file_tells_nothing_and_costs_nothing(tmp_path):
    """Neither does one that is gone."""

    async def scene(inotify):
        for number in range(100):
            file = tmp_path / str(number)
            file.touch()
            watch = inotify.watch(str(file), CLOSE_WRITE, lambda: None)
            if number % 2:
                inotify.forget(watch)
                inotify.forget(watch)
            file.unlink()
        await until(lambda: not inotify._callbacks, "nothing is watched")

    watched(scene)


def test_path_that_is_not_there_is_not_watched(tmp_path):
    """It is looked at once in a while instead."""

    async def scene(inotify):
        assert inotify.watch(str(tmp_path / "no"), CLOSE_WRITE, lambda: None) < 0
        inotify.forget(-1)

    watched(scene)


def test_path_of_odd_bytes_is_watched(tmp_path):
    """A directory's name need not be UTF-8."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    os.mkdir(path)

    async def scene(inotify):
        assert inotify.watch(path, CREATED, lambda: None) >= 0

    watched(scene)


def test_fault_of_one_callback_does_not_keep_it_from_the_others(tmp_path, caplog):
    """It is told, and the loop hears nothing of it."""

    def fail():
        raise KeyError("a fault")

    async def scene(inotify):
        told = []
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        inotify.watch(str(first), CREATED, fail)
        inotify.watch(str(second), CREATED, lambda: told.append(1))
        (first / "x").touch()
        (second / "x").touch()
        await until(lambda: told, "the other one is told")

    watched(scene)
    assert "a fault of this bridge" in caplog.text


@pytest.mark.parametrize("library", [None])
def test_system_without_inotify_is_silent(tmp_path, monkeypatch, library):
    """Nothing depends on an event."""
    monkeypatch.setattr(module, "_load", lambda: library)

    async def scene(inotify):
        assert inotify.watch(str(tmp_path), CREATED, lambda: None) == -1

    watched(scene)
