"""B17: every call to the system may fail in every way: one error each, nothing left."""

import contextlib
import errno
import fcntl
import mmap
import os
import resource
import threading

import pytest

from rlay.errors import ChannelError, ChannelNoSpace, RLayError
from rlay.protocol.greeting import Welcome
from rlay.transport.mem_client import MemClient
from rlay.transport.mem_server import MemServer
from tests.support.channels import HELLO, LIMIT_S, exchange, say

CALLS = {
    "mkdir": os,
    "makedirs": os,
    "open": os,
    "fstat": os,
    "posix_fallocate": os,
    "rename": os,
    "mmap": mmap,
    "flock": fcntl,
}
ERRORS = [
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EROFS,
    errno.EACCES,
    errno.ENAMETOOLONG,
    errno.EIO,
]


class FailingCall:
    """Stands in for a call to the system; fails the n-th time, from this thread."""

    def __init__(self, original, number, fail_at):
        self.original, self.number, self.fail_at = original, number, fail_at
        self.calls = 0
        self._thread = threading.get_ident()

    def __call__(self, *args, **options):
        if threading.get_ident() == self._thread:
            self.calls += 1
            if self.calls - 1 == self.fail_at:
                raise OSError(self.number, os.strerror(self.number))
        return self.original(*args, **options)

    @property
    def failed(self):
        return self.calls > self.fail_at


def _holdings(directory):
    fds = [
        os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
    ]
    with open("/proc/self/maps") as maps:
        mapped = [line for line in maps if str(directory) in line]
    return [path for path in fds if str(directory) in path], mapped


def _serve(directory):
    """Make a channel and a session in it, and take both down."""
    server = MemServer.create("game", directory)
    try:
        client_here = _Greeter(directory)
        try:
            buffer, _ = server.receive_hello(LIMIT_S)
            channel = server.accept(buffer, Welcome(0), (1, buffer.session), (64, 64))
            del channel
        finally:
            client_here.stop()
    finally:
        server.close()


class _Greeter:
    """A client in another thread, whose calls do not fail."""

    def __init__(self, directory):
        self._client = None
        self._thread = threading.Thread(target=self._greet, args=(directory,))
        self._thread.start()

    def _greet(self, directory):
        try:
            self._client = MemClient.open("game", directory)
            self._client.send_hello(HELLO, (0, 5), LIMIT_S)
        except RLayError:
            pass

    def stop(self):
        self._thread.join(LIMIT_S)
        if self._client is not None:
            self._client.close()
        self._client = None


def _attach(directory):
    """Open a channel of a server in another thread, and a session in it."""
    client = MemClient.open("game", directory)
    try:
        ids, welcome = client.greet(HELLO, (0, 5), LIMIT_S)
        client.attach(welcome, ids)
    finally:
        client.close()


def _fail_each_time(monkeypatch, name, number, action):
    """Run ``action`` with the n-th call failing, for all n; return how many."""
    fail_at = 0
    while True:
        owner = CALLS[name]
        failing = FailingCall(getattr(owner, name), number, fail_at)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            try:
                action()
            except RLayError:
                assert failing.failed
            except OSError as error:
                raise AssertionError(f"{name} call {fail_at}: {error!r}") from error
        if not failing.failed:
            return fail_at
        fail_at += 1


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", CALLS)
def test_b17_server_that_fails_anywhere_leaves_nothing(
    channel_directory, monkeypatch, name, number
):
    """B17: an error of RLay's; no file, descriptor, mapping or lock is left."""

    def action():
        try:
            _serve(channel_directory)
        finally:
            leftovers.append(sorted(os.listdir(channel_directory)))

    leftovers: list[list[str]] = []
    before = _holdings(channel_directory)
    calls = _fail_each_time(monkeypatch, name, number, action)
    assert calls > (0 if name != "makedirs" else -1)
    if name == "rename":  # a goodbye that may not rename leaves its channel, unheld
        MemServer.create("game", channel_directory).close()
    else:
        assert not any(leftovers)
    assert os.listdir(channel_directory) == []
    assert _holdings(channel_directory) == before


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["open", "fstat", "mmap", "flock"])
def test_b17_client_that_fails_anywhere_leaves_nothing(
    channel_directory, monkeypatch, name, number
):
    """B17: an error of RLay's; no descriptor or lock is left, the server serves on."""
    server = MemServer.create("game", channel_directory)
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            try:
                buffer, _ = server.receive_hello(0.05)
                server.accept(buffer, Welcome(0), (1, buffer.session), (64, 64))
            except RLayError:
                continue

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        _attach(channel_directory)
        before = _holdings(channel_directory)
        calls = _fail_each_time(
            monkeypatch, name, number, lambda: _attach(channel_directory)
        )
        assert calls > 0
        assert len(_holdings(channel_directory)[0]) == len(before[0])
        _attach(channel_directory)
    finally:
        stop.set()
        thread.join()
        server.close()


@pytest.mark.parametrize("where", ["mkdir", "open", "posix_fallocate", "mmap", "flock"])
def test_a17_server_that_is_interrupted_anywhere_leaves_nothing(
    channel_directory, monkeypatch, where
):
    """A17: Ctrl-C at any call of the making leaves nothing either."""
    fail_at = 0
    while True:
        owner = CALLS[where]
        calls = Interrupting(getattr(owner, where), fail_at)
        with monkeypatch.context() as patch:
            patch.setattr(owner, where, calls)
            with contextlib.suppress(KeyboardInterrupt):
                MemServer.create("game", channel_directory).close()
            assert os.listdir(channel_directory) == []
        if calls.calls <= fail_at:
            break
        fail_at += 1
    assert fail_at > 0
    assert _holdings(channel_directory) == ([], [])


class Interrupting:
    def __init__(self, original, fail_at):
        self.original, self.fail_at, self.calls = original, fail_at, 0

    def __call__(self, *args, **options):
        self.calls += 1
        if self.calls - 1 == self.fail_at:
            raise KeyboardInterrupt
        return self.original(*args, **options)


def serve_and_attach(directory):
    """Make a channel and a session over it, in one thread; take both down."""
    with contextlib.ExitStack() as ends:
        server = MemServer.create("game", directory)
        ends.callback(server.close)
        client = MemClient.open("game", directory)
        ends.callback(client.close)
        client.send_hello(HELLO, (0, 5), LIMIT_S)
        buffer, _ = server.receive_hello(LIMIT_S)
        responder = server.accept(buffer, Welcome(0), (1, 5), (64, 64))
        assert responder is not None
        ids, welcome = client.receive_welcome((0, 5), LIMIT_S)
        exchange(client.attach(welcome, ids), responder, 1)


def run_out_of_descriptors(directory):
    """Runs in a child: allow one descriptor more each time, until a session is made."""
    used = len(os.listdir("/proc/self/fd"))
    outcomes = []
    for spare in range(40):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, 4096))
        try:
            serve_and_attach(directory)
            outcomes.append("ok")
        except ChannelNoSpace as error:
            outcomes.append("full" if "ulimit -n" in str(error) else "unclear")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        assert os.listdir(directory) == []
        assert len(os.listdir("/proc/self/fd")) == used
        if outcomes[-1] == "ok":
            break
    say(*outcomes)


def test_b17_process_without_descriptors_is_told_so(children, channel_directory):
    """B17: with RLIMIT_NOFILE reached, each step fails cleanly until there is room."""
    child = children.start(run_out_of_descriptors, channel_directory)
    child.wait()
    words = child.stdout.split()
    assert words[-1] == "ok"
    assert words.count("full") >= 5
    assert set(words) == {"ok", "full"}


def test_b17_path_that_is_too_long_is_an_error(tmp_path):
    """B17: ENAMETOOLONG is told with the path, and nothing is made."""
    directory = tmp_path / ("d" * 200)
    deep = directory
    while len(str(deep)) < 4200:
        deep = deep / ("d" * 200)
    with pytest.raises(ChannelError, match="File name too long"):
        MemServer.create("game", deep)
    while directory.exists():
        inner = next(directory.iterdir(), None)
        if inner is None:
            break
        directory = inner


def make_on_read_only(directory):
    """Runs in a child: make a channel on a file system that was mounted read-only."""
    try:
        MemServer.create("game", directory)
    except ChannelError as error:
        say(type(error).__name__, error)


def test_b17_read_only_file_system_is_told(children, tmp_path):
    """B17: EROFS is ChannelPermission, with ls -l and the remedy."""
    from tests.support.privileges import unshare_command

    command = unshare_command()
    if command is None:
        pytest.skip("no private mounts here: neither unshare -m nor -rm is allowed")
    import sys

    mount = tmp_path / "mount"
    mount.mkdir()
    code = (
        "import importlib.util;"
        f"spec = importlib.util.spec_from_file_location('m', {__file__!r});"
        "module = importlib.util.module_from_spec(spec);"
        "spec.loader.exec_module(module);"
        f"module.make_on_read_only({str(mount)!r})"
    )
    script = 'mount -t tmpfs -o ro,size=1m,mode=0700 tmpfs "$0" && exec "$@"'
    child = children.start_command(
        [*command, "sh", "-c", script, str(mount), sys.executable, "-c", code]
    )
    child.wait()
    assert child.stdout.startswith("ChannelPermission")
    assert "Read-only file system" in child.stdout
    assert "RLAY_DIR" in child.stdout
