"""The fixtures of tests/conftest.py fail the tests that they are there to fail."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a test file of its own under this repository's conftest.py."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "tests/conftest.py").read_text())
    pytester.makeini(
        "[pytest]\nmarkers =\n leaves_files: as there\n leaves_processes: as there\n"
    )

    def run_source(source: str, **outcomes: int) -> pytest.RunResult:
        pytester.makepyfile(source)
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
        result.assert_outcomes(**outcomes)
        return result

    return run_source


def test_child_process_left_running_fails_the_test(run):
    """A child that outlives its test is reported, and has ended afterwards."""
    result = run(
        """
        import pathlib, subprocess, sys
        from tests.support.waiting import wait_until
        kept = []
        def test_leaves():
            code = "import time; open('started', 'w').close(); time.sleep(60)"
            kept.append(subprocess.Popen([sys.executable, "-c", code]))
            wait_until(pathlib.Path("started").exists)
        def test_after():
            assert kept[0].poll() is not None
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*the test left behind:", "*child *time.sleep(60)*"])


def test_child_process_that_nobody_waited_for_fails_the_test(run):
    """A zombie is a leak too."""
    result = run(
        """
        import os
        def test_leaves():
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # ended, not reaped
        """,
        passed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*child *(ended, nobody waited for it)"])


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("kept.append(socket.socket())", "*descriptor *: socket:*"),
        ("kept.append(os.pipe())", "*descriptor *: pipe:*"),
        ("kept.append((path / 'f').open('w'))", "*descriptor *: /*/f*"),
        ("kept.append(map_and_close(path / 'f'))", "*mapped: /*/f*"),
    ],
)
def test_descriptor_left_open_fails_the_test(run, statement, line):
    """Sockets, pipes, files of a channel and their mappings are reported."""
    result = run(
        f"""
        import ctypes, mmap, os, pytest, socket
        kept = []
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        def map_and_close(path):
            path.write_bytes(bytes(4096))
            with path.open("r+b") as file:
                return libc.mmap(None, 4096, 1, mmap.MAP_SHARED, file.fileno(), 0)
        @pytest.mark.leaves_files
        def test_leaves(channel_directory):
            path = channel_directory
            {statement}
        """,
        passed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines([line])


def test_descriptor_that_only_a_cycle_holds_passes(run):
    """What the garbage collector closes is not a leak of the test."""
    run(
        """
        import os
        class Pipe:
            def __init__(self):
                self.ends = os.pipe()
                self.itself = self
            def __del__(self):
                for end in self.ends:
                    os.close(end)
        def test_drops():
            Pipe()
        """,
        passed=1,
    )


def test_file_left_in_channel_directory_fails_the_test(run):
    """A channel directory that is not empty is reported, unless that is meant."""
    result = run(
        """
        import os, pytest
        def test_leaves(channel_directory):
            assert os.environ["RLAY_DIR"] == str(channel_directory)
            assert channel_directory.stat().st_mode & 0o777 == 0o700
            (channel_directory / "left").mkdir()
        @pytest.mark.leaves_files
        def test_means_to(channel_directory):
            (channel_directory / "meant").mkdir()
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*the test left files behind:", "*/left"])
    assert "/meant" not in result.stdout.str()


def test_child_output_is_shown_when_the_test_fails(run):
    """What a child wrote stands in the failed test's report."""
    result = run(
        """
        def test_fails(children):
            child = children.start_code("import sys; sys.exit('its last words')")
            child.wait()
        """,
        failed=1,
    )
    result.stdout.fnmatch_lines(
        ["*child code ended with 1, expected 0*", "*child code *stderr*", "its last*"]
    )


def test_child_with_exit_code_unseen_fails_the_test(run):
    """An exit code other than 0 fails a test that did not look at it."""
    result = run(
        """
        import pytest
        from tests.support.waiting import wait_until
        def test_unseen(children):
            child = children.start_code("raise SystemExit(3)")
            wait_until(lambda: child.exit_code is not None)
        def test_seen(children):
            children.start_code("raise SystemExit(3)").wait(exit_code=3)
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*child code ended with 3, expected 0*"])


def test_child_still_running_fails_the_test_unless_forever(run):
    """A child that was to end by itself and did not is reported."""
    result = run(
        """
        import sys, time
        def sleep_and_clean(path):
            try:
                print("ready")
                time.sleep(60)
            finally:
                open(path, "w").close()
        def test_runs(children):
            children.start_code("import time; time.sleep(60)")
        def test_forever(children, tmp_path):
            child = children.start(sleep_and_clean, tmp_path / "cleaned", forever=True)
            child.wait_until_printed("ready")
            assert child.end() is None
            assert (tmp_path / "cleaned").exists()
        """,
        passed=2,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*child code * still ran at the test's end"])
