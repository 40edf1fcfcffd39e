"""The bridge of ``listen=``: started, refused, ended."""

import os
import signal
import socket
import stat
import sys
import time

import pytest

from rlay.errors import AuthError, ChannelBusy, ChannelError, ChannelPermission
from rlay.processes import own_bridge
from rlay.processes.child import Ending
from rlay.processes.own_bridge import OwnBridge, complaint_of
from rlay.transport.bridge_status import read_status
from tests.support.bridge_child import BridgeChild
from tests.support.own_bridges import LIMIT_S, LISTEN, processes_of
from tests.support.waiting import wait_until


def started(listen=LISTEN, directory=None):
    """Return a bridge that runs."""
    bridge = OwnBridge(listen, "x", directory)
    with bridge.starting():
        return bridge


def failure(kind, listen=LISTEN, directory=None):
    """Return the message with which a bridge does not start."""
    with pytest.raises(kind) as caught:
        started(listen, directory)
    return str(caught.value)


# -------------------------------------------------------------------- while it runs


def test_it_listens_when_it_was_started(channel_directory):
    """Port 0 took a free one, and it is known."""
    bridge = started()
    host, _, port = bridge.listening[0].partition(":")
    socket.create_connection((host, int(port))).close()
    bridge.end()


def test_every_address_of_a_host_is_known(channel_directory):
    """``localhost`` may have two, and with port 0 each has a port of its own."""
    bridge = started("localhost:0")
    status = read_status()
    assert status is not None
    assert bridge.listening == tuple(status["listening"])
    bridge.end()


def test_it_is_started_once(channel_directory):
    """A backend that is opened twice has one bridge."""
    bridge = started()
    before = bridge.listening
    with bridge.starting():
        assert bridge.listening == before
    bridge.end()


def test_end_waits_until_it_is_gone(channel_directory):
    """Its process, its keeper, and its files; twice is harmless."""
    bridge = started()
    assert processes_of(channel_directory)
    bridge.end()
    assert processes_of(channel_directory) == []
    assert list(channel_directory.iterdir()) == []
    assert bridge.listening == ()
    bridge.end()


def test_it_ends_where_the_body_fails(channel_directory):
    """What the object could not be made with is of no use."""

    def fail():
        with OwnBridge(LISTEN, "x", None).starting():
            assert processes_of(channel_directory)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert processes_of(channel_directory) == []


def test_it_ends_when_its_object_is_collected(channel_directory):
    """Nobody needs to wait for it."""
    bridge = started()
    assert bridge._child is not None
    keeper = bridge._child._keeper
    del bridge
    wait_until(lambda: not processes_of(channel_directory), LIMIT_S)
    assert list(channel_directory.iterdir()) == []
    keeper.wait(LIMIT_S)


def hold():
    """Start a bridge and stay; runs in a child."""
    bridge = started()
    sys.stdout.write(bridge.listening[0])
    sys.stdout.flush()
    time.sleep(LIMIT_S)


def test_it_ends_with_a_process_that_is_killed(children, channel_directory):
    """Nobody tells it: its keeper sees that the owner is gone. It leaves no file."""
    owner = children.start(hold)
    owner.wait_until_printed("127.0.0.1")
    assert processes_of(channel_directory)
    owner.kill()
    wait_until(lambda: not processes_of(channel_directory), LIMIT_S)
    assert list(channel_directory.iterdir()) == []


def test_forked_child_does_not_end_it(channel_directory):
    """Neither by closing its copy nor by ending."""
    bridge = started()
    pid = os.fork()
    if not pid:
        bridge.end()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert bridge._child is not None
    assert bridge._child.wait(0.5) is None  # one that is told ends much faster
    bridge.end()
    assert processes_of(channel_directory) == []


def test_one_that_was_killed_is_told_of_at_the_end(channel_directory, caplog):
    """Its end is known, if late."""
    bridge = started()
    status = read_status()
    assert status is not None
    os.kill(status["pid"], signal.SIGKILL)
    bridge.end()
    assert "the bridge of listen= was ended by signal SIGKILL" in caplog.text
    for path in channel_directory.iterdir():  # it could not remove them
        path.unlink()


def test_no_address_is_no_bridge(channel_directory):
    """Nothing is started, and nothing listens."""
    bridge = started(None)
    assert bridge.listening == ()
    assert processes_of(channel_directory) == []
    bridge.end()


# ------------------------------------------------------------------ it does not start


@pytest.fixture
def _nothing_stays(channel_directory):
    """Whatever a bridge did not start for, it leaves neither process nor file."""
    yield
    assert processes_of(channel_directory) == []
    assert list(channel_directory.iterdir()) == []


@pytest.mark.usefixtures("_nothing_stays")
def test_port_that_is_taken_is_said_with_the_remedy(caplog):
    """Once, in one line, without times and levels."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        text = failure(ChannelError, listen)
    assert text.startswith(
        f"the bridge of listen='{listen}' did not start: cannot listen on {listen}: "
        "Address already in use. Another program listens there"
    )
    assert "\n" not in text
    assert caplog.text == ""


@pytest.mark.usefixtures("_nothing_stays")
@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "sim.example:0"])
def test_address_that_others_reach_is_refused(listen):
    """With the bridge's own remedy, and what stands for its options here."""
    text = failure(AuthError, listen)
    assert f"listening at {listen} is refused: others can reach it" in text
    assert "rlay cert new" in text
    assert "RLAY_BRIDGE_TOKEN_FILE=rlay.token" in text


@pytest.mark.usefixtures("_nothing_stays")
def test_token_comes_from_the_variables_of_a_bridge(monkeypatch, tmp_path):
    """As TLS and everything else: a token that others may read is refused."""
    token = tmp_path / "token"
    token.write_text("0123456789abcdef")
    token.chmod(0o644)
    monkeypatch.setenv("RLAY_TOKEN_FILE", str(token))
    assert f"Run: chmod 600 {token}" in failure(AuthError)


@pytest.mark.usefixtures("_nothing_stays")
def test_misspelt_variable_is_named(monkeypatch):
    """And the right one."""
    monkeypatch.setenv("RLAY_BRIDGE_TOKENFILE", "x")
    text = failure(ChannelError)
    assert text.endswith("did not start: unknown variable RLAY_BRIDGE_TOKENFILE: did "
                         "you mean RLAY_BRIDGE_TOKEN_FILE?")  # fmt: skip


@pytest.mark.usefixtures("_nothing_stays")
def test_bridge_that_never_listens_is_ended(monkeypatch):
    """The wait has a limit."""
    monkeypatch.setattr(own_bridge, "START_LIMIT_S", 0.05)
    assert "within 0.05 s, and was ended" in failure(TimeoutError)


def test_directory_that_is_not_ours_is_refused_as_elsewhere(tmp_path):
    """By the same error, and before anything is started."""
    (tmp_path / "open").mkdir()
    link = tmp_path / "open" / f"rlay-{os.geteuid()}"
    link.mkdir(0o755)
    (tmp_path / "open").chmod(0o777)
    link.chmod(0o755)
    assert stat.S_IMODE(link.stat().st_mode) == 0o755
    failure(ChannelPermission, directory=tmp_path / "open")


def test_bridge_that_serves_the_directory_is_named(children, channel_directory):
    """Where it listens is where peers can go."""
    other = BridgeChild(children)
    wait_until(read_status, LIMIT_S)
    text = failure(ChannelBusy)
    assert f"another bridge, process {other.child.pid}," in text
    assert f"listens at 127.0.0.1:{other.port}. Leave listen= out" in text
    other.end()


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        (7450, "names no host: write listen='127.0.0.1:7450'"),
        ("7450", "names no host: write listen='127.0.0.1:7450'"),
        (":7450", "names no host"),
        ("", "names no host"),
        (True, "is no text: write host and port"),
        (b"127.0.0.1:1", "is no text: write host and port"),
        ("tcp://127.0.0.1:7450/x", "is an address for peers"),
        ("127.0.0.1:99999", "'99999' is no port"),
        ("127.0.0.1:7450/x", "'7450/x' is no port"),
        ("::1:7450", "stands in brackets"),
        ("127.0.0.1 7450", "cannot be the name of a host"),
    ],
)
def test_what_is_no_address_is_said_at_once(listen, said):
    """With what was given, and how it is written."""
    with pytest.raises(ChannelError) as caught:
        OwnBridge(listen, "x", None)
    assert f"listen={listen!r}" in str(caught.value)
    assert said in str(caught.value)


def test_channel_at_another_bridge_is_refused():
    """The name alone is what is meant."""
    with pytest.raises(ValueError, match="give the channel's name alone, 'x', or"):
        OwnBridge(LISTEN, "tcp://127.0.0.1:7450/x", None)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Error: no", "  try this"], "no\n  try this"),
        (["Usage: rlay bridge", "", "Error: no"], "no"),
        (["2026-01-01T00:00:00Z INFO hm", "2026-01-01T00:00:00Z ERROR no"], "no"),
        (["No module named rlay"], "its process exited with code 1. Its last lines:\n"
                                   "    No module named rlay"),
        ([], "its process exited with code 1; it wrote nothing"),
    ],
)  # fmt: skip
def test_complaint_is_what_stands_behind_the_level(lines, said):
    """Everything, where nothing looks like a complaint."""
    assert complaint_of(Ending(1, lines=tuple(lines))) == said
