"""Delivery: the legal transitions, written out again; wrap-around; at most once.

The tables below are not derived from those of the module: derived from them, a wrong
table would pass.
"""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import LocalProtocolError
from rlay.protocol.delivery import (
    REPLY_TABLE,
    REQUEST_TABLE,
    Order,
    Outcome,
    Requester,
    RequesterState,
    Responder,
    ResponderState,
    next_sequence,
    order,
)

LAST = 0xFFFF_FFFF

REPLIES = """
    state    sequence  outcome  next
    IDLE     SAME      DROP     IDLE
    IDLE     OLDER     DROP     IDLE
    IDLE     NEXT      BREACH   OVER
    IDLE     GAP       BREACH   OVER
    WAITING  SAME      ACCEPT   IDLE
    WAITING  OLDER     DROP     WAITING
    WAITING  NEXT      BREACH   OVER
    WAITING  GAP       BREACH   OVER
    LATE     SAME      DISCARD  IDLE
    LATE     OLDER     DROP     LATE
    LATE     NEXT      BREACH   OVER
    LATE     GAP       BREACH   OVER
    OVER     SAME      BREACH   OVER
    OVER     OLDER     BREACH   OVER
    OVER     NEXT      BREACH   OVER
    OVER     GAP       BREACH   OVER
"""
REQUESTS = """
    state    sequence  outcome  next
    READY    SAME      REPEAT   READY
    READY    OLDER     DROP     READY
    READY    NEXT      RUN      RUNNING
    READY    GAP       BREACH   OVER
    RUNNING  SAME      DROP     RUNNING
    RUNNING  OLDER     DROP     RUNNING
    RUNNING  NEXT      BREACH   OVER
    RUNNING  GAP       BREACH   OVER
    OVER     SAME      BREACH   OVER
    OVER     OLDER     BREACH   OVER
    OVER     NEXT      BREACH   OVER
    OVER     GAP       BREACH   OVER
"""


def rows(table):
    """Return a written table's rows, without its head."""
    return [tuple(line.split()) for line in table.strip().splitlines()[1:]]


def sequence_of(last, name):
    """Return a sequence that stands so to the last one."""
    return {
        "SAME": last,
        "OLDER": (last - 1) & LAST or LAST,
        "NEXT": next_sequence(last),
        "GAP": next_sequence(next_sequence(last)),
    }[name]


def requester(state, sequence):
    """Return a requester in a state."""
    machine = Requester()
    machine.state, machine.sequence = RequesterState[state], sequence
    return machine


def responder(state, sequence):
    """Return a responder in a state."""
    machine = Responder()
    machine.state, machine.sequence = ResponderState[state], sequence
    return machine


@pytest.mark.parametrize("last", [1, 5, 2**31, LAST - 1, LAST])
@pytest.mark.parametrize(("state", "name", "outcome", "after"), rows(REPLIES))
def test_reply_in_each_state(state, name, outcome, after, last):
    """Each state and order of a reply has this outcome, also around a wrap."""
    machine = requester(state, last)
    assert machine.receive(sequence_of(last, name)) is Outcome[outcome]
    assert machine.state is RequesterState[after]
    assert machine.sequence == last
    assert machine.dropped == (outcome == "DROP")


@pytest.mark.parametrize("last", [1, 5, 2**31, LAST - 1, LAST])
@pytest.mark.parametrize(("state", "name", "outcome", "after"), rows(REQUESTS))
def test_request_in_each_state(state, name, outcome, after, last):
    """Each state and order of a request has this outcome, also around a wrap."""
    machine = responder(state, last)
    sequence = sequence_of(last, name)
    assert machine.receive(sequence) is Outcome[outcome]
    assert machine.state is ResponderState[after]
    assert machine.sequence == (sequence if outcome == "RUN" else last)
    assert machine.dropped == (outcome == "DROP")


def test_tables_equal_the_machines():
    """The edges that are written out for speed are those of the tables."""
    for written, table, states in (
        (REPLIES, REPLY_TABLE, RequesterState),
        (REQUESTS, REQUEST_TABLE, ResponderState),
    ):
        listed = {
            (states[state], Order[name]): (Outcome[outcome], states[after])
            for state, name, outcome, after in rows(written)
            if outcome != "BREACH"
        }
        assert listed == table


# --- sequences ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "after"), [(0, 1), (1, 2), (2**31, 2**31 + 1), (LAST - 1, LAST), (LAST, 1)]
)
def test_next_sequence_skips_zero(last, after):
    """After the last 32-bit number comes 1: 0 is never a sequence."""
    assert next_sequence(last) == after


@pytest.mark.parametrize(
    ("last", "sequence", "expected"),
    [
        (5, 5, Order.SAME),
        (5, 6, Order.NEXT),
        (5, 4, Order.OLDER),
        (5, 7, Order.GAP),
        (5, 5 + 2**31 - 1, Order.GAP),
        (5, 5 + 2**31, Order.OLDER),
        (LAST, 1, Order.NEXT),
        (LAST, 2, Order.GAP),
        (LAST, LAST - 1, Order.OLDER),
        (1, LAST, Order.OLDER),
        (2, LAST, Order.OLDER),
        (0, 1, Order.NEXT),
        (0, 2, Order.GAP),
        (0, LAST, Order.OLDER),
        (0, 0, Order.GAP),
        (5, 0, Order.GAP),
        (LAST, 0, Order.GAP),
    ],
)
def test_order(last, sequence, expected):
    """Older is a signed difference below zero; 0 is never in order."""
    assert order(last, sequence) is expected


@given(st.integers(1, LAST), st.integers(1, 2**31 - 2))
def test_order_of_what_was_before_is_older(last, steps):
    """Whatever was sent within the last two thousand million requests is older."""
    before = last - steps
    if before <= 0:
        before += LAST
    assert order(last, before) is Order.OLDER


def test_first_request_of_a_session_is_one():
    """No request came before: nothing is repeated, not even sequence 0."""
    for sequence, outcome in (
        (1, Outcome.RUN),
        (0, Outcome.BREACH),
        (2, Outcome.BREACH),
        (LAST, Outcome.DROP),
    ):
        assert Responder().receive(sequence) is outcome


def test_zero_is_a_breach_in_every_state():
    """Sequence 0 ends the session, whatever was before."""
    for asking in RequesterState:
        assert requester(asking.name, 7).receive(0) is Outcome.BREACH
    for answering in ResponderState:
        assert responder(answering.name, 7).receive(0) is Outcome.BREACH


# --- the other events -----------------------------------------------------------------


def test_begin_counts_and_waits():
    """Requests are numbered from 1, one in flight."""
    machine = Requester()
    assert machine.begin() == 1
    assert machine.state is RequesterState.WAITING
    machine.receive(1)
    assert machine.begin() == 2


@pytest.mark.parametrize("state", ["WAITING", "LATE", "OVER"])
def test_begin_in_other_states_is_our_own_fault(state):
    """A second request in flight, or one after the end, is refused at once."""
    machine = requester(state, 4)
    with pytest.raises(LocalProtocolError, match=state.lower()):
        machine.begin()
    assert (machine.state, machine.sequence) == (RequesterState[state], 4)


@pytest.mark.parametrize(
    ("state", "after"),
    [("IDLE", "IDLE"), ("WAITING", "LATE"), ("LATE", "LATE"), ("OVER", "OVER")],
)
def test_abandon(state, after):
    """A time-out or an interrupt leaves the reply to be discarded."""
    machine = requester(state, 4)
    machine.abandon()
    assert machine.state is RequesterState[after]


@pytest.mark.parametrize("sequence", [0, 1, 6, LAST])
def test_cancel_of_a_request_undoes_begin(sequence):
    """Nothing was sent: the next request has the same sequence."""
    machine = requester("IDLE", sequence)
    begun = machine.begin()
    machine.cancel()
    assert machine.state is RequesterState.IDLE
    assert machine.begin() == begun


@pytest.mark.parametrize("state", ["IDLE", "LATE", "OVER"])
def test_cancel_without_a_request_does_nothing(state):
    """What is in flight already, or over, stays as it is."""
    machine = requester(state, 4)
    machine.cancel()
    assert (machine.state, machine.sequence) == (RequesterState[state], 4)


def test_answer_finishes_the_request():
    """A reply carries the request's sequence."""
    machine = Responder()
    machine.receive(1)
    assert machine.answer() == 1
    assert machine.state is ResponderState.READY


@pytest.mark.parametrize("state", ["READY", "OVER"])
def test_answer_without_a_request_is_our_own_fault(state):
    """Nothing is to be answered."""
    machine = responder(state, 4)
    with pytest.raises(LocalProtocolError, match="no request to answer"):
        machine.answer()
    assert machine.state is ResponderState[state]


def test_cancel_of_an_answer_undoes_it():
    """Nothing was sent: the request is still to be answered, with its sequence."""
    machine = Responder()
    machine.receive(1)
    machine.answer()
    machine.cancel()
    assert machine.state is ResponderState.RUNNING
    assert machine.answer() == 1


@pytest.mark.parametrize(("state", "sequence"), [("READY", 0), ("OVER", 4)])
def test_cancel_without_an_answer_does_nothing(state, sequence):
    """Before the first request, and after the end, there is nothing to undo."""
    machine = responder(state, sequence)
    machine.cancel()
    assert machine.state is ResponderState[state]


def test_lose_ends_both():
    """After the end nothing is accepted or run."""
    asks, answers = Requester(), Responder()
    asks.begin()
    asks.lose()
    answers.lose()
    assert asks.receive(1) is Outcome.BREACH
    assert answers.receive(1) is Outcome.BREACH


# --- both machines over a bad network -------------------------------------------------

STEPS = 3
IN_FLIGHT = 2


class World:
    """Both machines and what is on the way; every choice gives a new one.

    Requests and replies may be lost, doubled and overtaken. The requester repeats its
    request, gives up waiting at any time, and asks until it has had ``STEPS`` replies.

    Attributes:
        asks: State and sequence of the requester.
        answers: State and sequence of the responder.
        requests: Sequences on the way.
        replies: On the way: a sequence, and how often its step had run by then.
        runs: Sequences of the steps that were run, in order.
        results: Replies that were accepted, in order.
    """

    requests: tuple[int, ...] = ()
    replies: tuple[tuple[int, int], ...] = ()
    runs: tuple[int, ...] = ()
    results: tuple[tuple[int, int], ...] = ()

    def __init__(self, sequence):
        self.asks = (RequesterState.IDLE, sequence)
        self.answers = (ResponderState.READY, sequence)

    def changed(self, **fields):
        """Return a world that differs in these fields."""
        other = World(0)
        vars(other).update(vars(self), **fields)
        return other

    def key(self):
        """Return what makes two worlds the same."""
        state = self.asks, self.answers, self.requests, self.replies
        return *state, self.runs, self.results

    def requester(self):
        """Return the requester of this world."""
        return requester(self.asks[0].name, self.asks[1])

    def responder(self):
        """Return the responder of this world."""
        return responder(self.answers[0].name, self.answers[1])

    def successors(self):
        """Yield every world that may come next."""
        yield from self.after_asking()
        yield from self.after_answering()
        yield from self.after_losses()
        yield from self.after_arrivals()

    def after_asking(self):
        """Yield the worlds in which the requester asks, asks again, or gives up."""
        machine = self.requester()
        if machine.state is RequesterState.IDLE:
            if len(self.results) < STEPS and len(self.runs) < STEPS:
                yield self._asked(machine, machine.begin())
            return
        yield self._asked(machine, machine.sequence)
        machine.abandon()
        yield self.changed(asks=(machine.state, machine.sequence))

    def _asked(self, machine, sequence):
        return self.changed(
            asks=(machine.state, sequence),
            requests=(*self.requests, sequence)[-IN_FLIGHT:],
        )

    def after_answering(self):
        """Yield the world in which the step that runs is done."""
        machine = self.responder()
        if machine.state is ResponderState.RUNNING:
            yield self._replied(machine, machine.answer())

    def _replied(self, machine, sequence):
        reply = (sequence, self.runs.count(sequence))
        return self.changed(
            answers=(machine.state, machine.sequence),
            replies=(*self.replies, reply)[-IN_FLIGHT:],
        )

    def after_losses(self):
        """Yield the worlds in which one message is lost."""
        for index in range(len(self.requests)):
            yield self.changed(requests=without(self.requests, index))
        for index in range(len(self.replies)):
            yield self.changed(replies=without(self.replies, index))

    def after_arrivals(self):
        """Yield the worlds in which a message arrives, and stays on the way or not."""
        for index, sequence in enumerate(self.requests):
            for left in (self.requests, without(self.requests, index)):
                yield self.changed(requests=left)._with_request(sequence)
        for index, reply in enumerate(self.replies):
            for left in (self.replies, without(self.replies, index)):
                yield self.changed(replies=left)._with_reply(*reply)

    def _with_request(self, sequence):
        machine = self.responder()
        outcome = machine.receive(sequence)
        assert outcome is not Outcome.BREACH
        if outcome is Outcome.REPEAT:
            return self._replied(machine, sequence)
        runs = (*self.runs, sequence) if outcome is Outcome.RUN else self.runs
        return self.changed(answers=(machine.state, machine.sequence), runs=runs)

    def _with_reply(self, sequence, runs):
        machine = self.requester()
        outcome = machine.receive(sequence)
        assert outcome is not Outcome.BREACH
        results = self.results
        if outcome is Outcome.ACCEPT:
            results = (*results, (sequence, runs))
        return self.changed(asks=(machine.state, machine.sequence), results=results)


def without(items, index):
    """Return a tuple without one item."""
    return items[:index] + items[index + 1 :]


def explore(sequence):
    """Return every world that can be reached from a last sequence."""
    start = World(sequence)
    seen, waiting = {start.key(): start}, deque([start])
    while waiting:
        for world in waiting.popleft().successors():
            if world.key() not in seen:
                seen[world.key()] = world
                waiting.append(world)
    return list(seen.values())


@pytest.mark.parametrize("sequence", [0, LAST - 2])
def test_every_world_runs_each_step_at_most_once(sequence):
    """Whatever is lost, doubled or overtaken: no step runs twice, none is skipped.

    A result that is accepted belongs to the step that was asked for and was made when
    it had run. The end is reached in some worlds, so the claim is not empty.
    """
    expected = [sequence := next_sequence(sequence) for _ in range(STEPS)]
    worlds = explore((expected[0] - 1) & LAST)
    for world in worlds:
        assert list(world.runs) == expected[: len(world.runs)]
        answered = [number for number, _ in world.results]
        assert answered == [number for number in expected if number in answered]
        assert all(runs == 1 for _, runs in world.results)
        assert set(answered) <= set(world.runs)
    assert max(len(world.results) for world in worlds) == STEPS
    assert len(worlds) > 1000
