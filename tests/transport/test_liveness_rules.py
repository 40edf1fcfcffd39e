"""What proves that a peer is alive, and what never may: read from the source itself."""

import ast
from pathlib import Path

import pytest

import rlay

PACKAGE = Path(rlay.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TRANSPORT = sorted((PACKAGE / "transport").rglob("*.py"))


def _trees(files):
    for path in files:
        yield path, ast.parse(path.read_text())


def _calls(files, *names):
    """Yield each call of a function or method of one of these names."""
    for path, tree in _trees(files):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                function = node.func
                called = getattr(function, "attr", getattr(function, "id", None))
                if called in names:
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_b14_no_signal_zero_asks_whether_a_process_lives():
    """B14: kill(pid, 0) is nowhere: pids are reused, and differ between containers."""
    found = [
        where
        for where, call in _calls(FILES, "kill", "killpg", "send_signal", "pidfd_open")
        if any(isinstance(arg, ast.Constant) and arg.value == 0 for arg in call.args)
    ]
    assert found == []


def test_b14_transport_signals_nobody_and_looks_into_no_proc():
    """B14: the transport neither signals, nor waits for, nor looks up a process."""
    assert not list(
        _calls(
            TRANSPORT, "kill", "killpg", "pidfd_open", "waitpid", "waitid", "pid_exists"
        )
    )
    for path, tree in _trees(TRANSPORT):
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert not [text for text in texts if text.startswith("/proc")], path


def test_b14_pid_in_the_header_is_only_shown():
    """B14: whatever reads a line's pid puts it into text or into a view."""
    readers = {
        path.name
        for path, tree in _trees(TRANSPORT)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "pid"
    }
    assert readers == {"header.py", "views.py"}


@pytest.mark.parametrize("clock", ["time", "time_ns", "localtime", "gmtime", "ctime"])
def test_no_wall_clock_decides(clock):
    """The one look at the wall clock is the header's, for people."""
    found = [
        where
        for where, call in _calls(TRANSPORT, clock)
        if isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "time"
    ]
    assert [where.rpartition(":")[0] for where in found] == (
        ["transport/header.py"] if clock == "time" else []
    )


def test_no_age_of_a_file_is_asked():
    """Nothing is stale because it is old."""
    for path, tree in _trees(TRANSPORT):
        attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        assert not attributes & {"st_mtime", "st_ctime", "st_atime", "getmtime"}, path


def test_no_posix_lock_is_taken():
    """POSIX locks are lost when any descriptor of the file is closed."""
    for path, tree in _trees(FILES):
        attributes = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        assert not attributes & {"lockf", "F_SETLK", "F_SETLKW", "F_GETLK"}, path
