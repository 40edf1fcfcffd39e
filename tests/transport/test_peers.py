"""The other end: alive, gone, lost, or only unreachable for a while."""

import pickle
import time

import pytest

from rlay.errors import (
    ChannelClosed,
    ChannelError,
    ConnectTimeout,
    LinkDown,
    PeerLost,
    StepTimeout,
)
from rlay.protocol.constants import BellKind, Capability, CloseReason, Holder, PeerState
from rlay.transport.header import ChannelHeader
from rlay.transport.peers import Deadline, OwnEnd, PeerGone, PeerWatch, connecting


class Peer:
    """A line in a header, a lock, and a clock."""

    def __init__(self, monkeypatch):
        self.memory = memoryview(bytearray(4096))
        self.line = ChannelHeader(self.memory).client
        self.line.announce(BellKind.POLL, Capability.NONE)
        self.held, self.newer, self.now = True, False, 1000.0
        self.own = OwnEnd("the server end of 'x'")
        self.watch = PeerWatch(
            self.line, lambda: self.held, "the game", lambda: self.newer, self.own
        )
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def be_held_by_a_bridge(self):
        self.memory[256 + 8] = Holder.BRIDGE


@pytest.fixture
def peer(monkeypatch):
    return Peer(monkeypatch)


# ------------------------------------------------------------------------- watch


def test_silent_peer_is_alive_as_long_as_it_holds_its_lock(peer):
    """No time is too long."""
    peer.now += 10**9
    assert peer.watch.check()


@pytest.mark.parametrize("reason", CloseReason)
def test_goodbye_has_its_reason(peer, reason):
    """A peer that said goodbye is closed, with the reason as a fact and as text."""
    peer.line.say(PeerState.CLOSED, reason)
    for held in (True, False):
        peer.held = held
        with pytest.raises(PeerGone, match=r"the game was closed \w+") as caught:
            peer.watch.check()
        assert caught.value.reason is reason


def test_goodbye_between_two_looks_counts(peer):
    """A peer that says goodbye and lets go while we look is closed, not lost."""

    def let_go():
        peer.line.say(PeerState.CLOSED, CloseReason.DRAINING)
        return False

    watch = PeerWatch(peer.line, let_go, "the game")
    with pytest.raises(PeerGone, match="shuts down"):
        watch.check()


def test_free_lock_without_goodbye_is_lost(peer):
    """The message says who it was and what may have happened."""
    peer.held = False
    with pytest.raises(PeerLost, match=r"the game is gone: process \d+ .*killed"):
        peer.watch.check()


def test_lost_is_what_a_bridge_says(peer):
    """A bridge that lost the far end says so while it holds the lock."""
    peer.line.say(PeerState.LOST, CloseReason.VANISHED)
    with pytest.raises(PeerLost, match="the game was lost"):
        peer.watch.check()


def test_lost_with_the_link_is_another_error(peer):
    """A bridge that gave up the far end tells that from a far end that died."""
    peer.be_held_by_a_bridge()
    peer.line.say(PeerState.LOST, CloseReason.LINK_DOWN)
    with pytest.raises(LinkDown, match=r"the game is out of reach: .* too long"):
        peer.watch.check()


def test_newer_peer_takes_the_place(peer):
    """Where somebody newer says Hello, the one before is lost."""
    peer.newer = True
    with pytest.raises(PeerLost, match="replaced by a newer one"):
        peer.watch.check()


@pytest.mark.parametrize("state", [5, 77, 2**32 - 1])
def test_b6_unknown_state_is_no_sign_of_anything(peer, state):
    """B6: a state that nobody knows leaves the decision to the lock."""
    peer.line.say(state, CloseReason.NONE)
    assert peer.watch.check()
    peer.held = False
    with pytest.raises(PeerLost):
        peer.watch.check()


def test_own_end_that_was_closed_ends_every_wait(peer):
    """Our own close() goes before what the peer says."""
    peer.line.say(PeerState.CLOSED, CloseReason.CLOSED)
    peer.own.close()
    peer.own.close()
    with pytest.raises(ChannelClosed, match="server end of 'x' was closed here"):
        peer.watch.check()


@pytest.mark.parametrize("sign", ["free lock", "link down"])
def test_bridge_that_is_gone_is_waited_for(peer, sign):
    """A bridge may be restarted: that is a link that is down, for the window."""
    peer.be_held_by_a_bridge()
    if sign == "free lock":
        peer.held = False
    else:
        peer.line.say(PeerState.LINK_DOWN, CloseReason.NONE)
    assert not peer.watch.check()
    peer.now += 299.0
    assert not peer.watch.check()
    peer.now += 2.0
    with pytest.raises(LinkDown, match="300 s"):
        peer.watch.check()


def test_window_is_a_setting(peer, monkeypatch):
    """RLAY_RESUME_WINDOW_S is how long, in seconds, a link may be down."""
    monkeypatch.setenv("RLAY_RESUME_WINDOW_S", "2.5")
    peer.be_held_by_a_bridge()
    peer.held = False
    watch = PeerWatch(peer.line, lambda: False, "the game")
    assert not watch.check()
    peer.now += 2.4
    assert not watch.check()
    peer.now += 0.2
    with pytest.raises(LinkDown, match=r"more than 2\.5 s"):
        watch.check()


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_window_that_is_no_number_is_told(peer, monkeypatch, text):
    """A mistake in RLAY_RESUME_WINDOW_S is told with its name and value."""
    monkeypatch.setenv("RLAY_RESUME_WINDOW_S", text)
    with pytest.raises(ChannelError, match=f"RLAY_RESUME_WINDOW_S.*{text}"):
        PeerWatch(peer.line, lambda: True, "the game")


def test_process_vouches_for_its_slot(peer):
    """What a process took it says itself: its slot is the last word, dead or alive."""
    for held in (True, False):
        peer.held = held
        assert peer.watch.vouches


@pytest.mark.parametrize(
    ("state", "reason", "vouches"),
    [
        (PeerState.ALIVE, CloseReason.NONE, False),
        (PeerState.LINK_DOWN, CloseReason.NONE, False),
        (PeerState.LOST, CloseReason.LINK_DOWN, False),
        (PeerState.CLOSED, CloseReason.LINK_DOWN, False),
        (PeerState.CLOSED, CloseReason.DRAINING, False),
        (PeerState.LOST, CloseReason.VANISHED, True),
        (PeerState.CLOSED, CloseReason.CLOSED, True),
    ],
)
def test_bridge_vouches_once_it_told_the_end(peer, state, reason, vouches):
    """Until a bridge knows how the session ended, the far reader may have taken all."""
    peer.be_held_by_a_bridge()
    peer.line.say(state, reason)
    assert peer.watch.vouches is vouches


def test_link_that_came_back_has_its_whole_window_again(peer):
    """Each fault has a window of its own."""
    peer.be_held_by_a_bridge()
    for _ in range(3):
        peer.held = False
        assert not peer.watch.check()
        peer.now += 200.0
        assert not peer.watch.check()
        peer.held = True
        assert peer.watch.check()


def test_bridge_that_says_goodbye_is_gone(peer):
    """What the far end said counts, although a bridge said it here."""
    peer.be_held_by_a_bridge()
    peer.line.say(PeerState.CLOSED, CloseReason.CLOSED)
    with pytest.raises(PeerGone):
        peer.watch.check()


def test_goodbye_survives_pickling():
    """The reason travels with the exception to another process."""
    error = pickle.loads(pickle.dumps(PeerGone("text", CloseReason.DRAINING)))
    assert (str(error), error.reason) == ("text", CloseReason.DRAINING)


# ---------------------------------------------------------------------- deadline


def _deadline(peer, timeout_s):
    return Deadline(peer.watch, timeout_s, lambda: StepTimeout("late"))


def test_deadline_raises_when_the_time_is_up(peer):
    """Slices are short, the last one shorter, and then it raises."""
    deadline = _deadline(peer, 0.12)
    assert deadline.start() == 0.05
    peer.now += 0.05
    assert deadline.check() == 0.05
    peer.now += 0.05
    assert deadline.check() == pytest.approx(0.02)
    peer.now += 0.021
    with pytest.raises(StepTimeout, match="late"):
        deadline.check()


@pytest.mark.parametrize(
    ("timeout_s", "first"), [(0.0, 0.0), (-1.0, 0.0), (0.01, 0.01)]
)
def test_short_deadline_has_a_short_first_slice(peer, timeout_s, first):
    """A time-out below a slice is kept; one that is over looks once."""
    deadline = _deadline(peer, timeout_s)
    assert deadline.start() == first
    peer.now += 0.011
    with pytest.raises(StepTimeout):
        deadline.check()


def test_deadline_without_limit_never_ends(peer):
    """None waits for ever, but not for a peer that is gone."""
    deadline = _deadline(peer, None)
    assert deadline.start() == 0.05
    peer.now += 10**9
    assert deadline.check() == 0.05
    peer.held = False
    with pytest.raises(PeerLost):
        deadline.check()


def test_deadline_without_peer_only_counts_time(peer):
    """Where nobody must live, only the time matters."""
    deadline = Deadline(None, 1.0, lambda: StepTimeout("late"))
    deadline.start()
    assert deadline.check() == 0.05
    peer.now += 1.0
    with pytest.raises(StepTimeout):
        deadline.check()


def test_dead_peer_goes_before_the_time_out(peer):
    """A peer that died is PeerLost, also when the time is up."""
    deadline = _deadline(peer, 1.0)
    deadline.start()
    peer.now += 5.0
    peer.held = False
    with pytest.raises(PeerLost):
        deadline.check()


def test_time_with_the_link_down_does_not_count(peer):
    """A time-out bounds the environment, not the network."""
    peer.be_held_by_a_bridge()
    deadline = _deadline(peer, 1.0)
    deadline.start()
    peer.now += 0.5
    assert deadline.check() == 0.05
    peer.held = False
    for _ in range(20):
        peer.now += 10.0
        assert deadline.check() == 0.05
    peer.held = True
    peer.now += 0.4
    assert deadline.check() == 0.05
    peer.now += 0.2
    with pytest.raises(StepTimeout):
        deadline.check()


def test_each_start_has_the_whole_time(peer):
    """A deadline serves one wait after the other."""
    deadline = _deadline(peer, 1.0)
    for _ in range(3):
        deadline.start()
        peer.now += 0.9
        deadline.check()


def test_running_deadline_counts_over_all_its_waits(peer):
    """The time runs on from one wait to the next, also between them."""
    deadline = _deadline(peer, 1.0).running()
    peer.now += 0.6
    assert deadline.start() == 0.05
    deadline.check()
    peer.now += 0.5
    assert deadline.start() == 0.0
    with pytest.raises(StepTimeout):
        deadline.check()


def test_rewound_deadline_has_the_whole_time_from_its_next_sleep(peer):
    """It counts over all the waits since, and time before the first does not."""
    deadline = _deadline(peer, 1.0).running()
    for _ in range(2):
        peer.now += 5.0
        assert deadline.rewind() is deadline
        peer.now += 5.0
        assert deadline.start() == 0.05
        peer.now += 0.6
        deadline.check()
        assert deadline.start() == 0.05
        peer.now += 0.5
        with pytest.raises(StepTimeout):
            deadline.check()


def test_connecting_says_what_is_missing():
    """The maker of the error says what, and for how long it was waited."""
    error = connecting(5.0, "no client came")()
    assert isinstance(error, ConnectTimeout)
    assert str(error) == "no client came within 5.0 s"
