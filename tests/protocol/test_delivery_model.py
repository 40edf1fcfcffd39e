"""Every order of events of a few steps, with the delivery machines that ship deciding.

One agent asks, an environment answers. Between them is the worst of networks: each
message that was ever sent may arrive at any time, any number of times, or never. So
there is loss, doubling, delay and disorder in one. The agent may stop waiting; the
environment may die between any two of its actions, and another one of the same name
takes its place. All states that can be reached are visited. In each of them:

- no request was run twice in one life of an environment;
- what was accepted is the result of the request that it was accepted for;
- it comes from the life of the environment that the agent had greeted;
- who was told ``executed=False`` asked for what was not run, and never will be;
- honest ends do not find each other in breach of the protocol;
- without a further fault all can come to its end.

Each rule of the protocol is left out once, and one of these is then seen to fail. That
bridges move the messages so is the matter of ``tests/bridge/test_mirroring_model.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pytest

from rlay.protocol.delivery import (
    Outcome,
    Requester,
    RequesterState,
    Responder,
    ResponderState,
    next_sequence,
)

LAST = 2**32 - 1


class Message(NamedTuple):
    """A request, or the reply to it.

    Attributes:
        life: Of the environment, as its incarnation says.
        sequence: Within the session.
        action: A number of its own for each call of the agent.
    """

    life: int
    sequence: int
    action: int


@dataclass(frozen=True)
class Agent:
    """Who asks.

    Attributes:
        life: That was greeted.
        state, sequence: Of the machine.
        asked: How many steps were asked for in all lives.
        pending: What is asked for.
    """

    life: int = 0
    state: RequesterState = RequesterState.IDLE
    sequence: int = 0
    asked: int = 0
    pending: Message | None = None

    def machine(self) -> Requester:
        """Return the machine that ships, in this state."""
        machine = Requester()
        machine.state, machine.sequence = self.state, self.sequence
        return machine

    def after(self, machine: Requester, pending: Message | None) -> Agent:
        """Return the agent that the machine's new state makes."""
        return replace(
            self, state=machine.state, sequence=machine.sequence, pending=pending
        )


@dataclass(frozen=True)
class Environment:
    """Who answers.

    Attributes:
        life: How many died before.
        state, sequence: Of the machine.
        request: What is being run.
        ran: Whether its step is done, and the answer not yet sent.
    """

    life: int = 0
    state: ResponderState = ResponderState.READY
    sequence: int = 0
    request: Message | None = None
    ran: bool = False

    def machine(self) -> Responder:
        """Return the machine that ships, in this state."""
        machine = Responder()
        machine.state, machine.sequence = self.state, self.sequence
        return machine


@dataclass(frozen=True)
class World:
    """A state of everything.

    Attributes:
        requests, replies: All that were ever sent: each may arrive now.
        taken: Requests whose slot says so.
        runs: Requests that were run, once for each time.
        told: Requests of which it was said that they were not run.
        deaths, patience: How many faults may still happen.
    """

    agent: Agent
    environment: Environment
    deaths: int
    patience: int
    requests: frozenset[Message] = frozenset()
    replies: frozenset[Message] = frozenset()
    taken: frozenset[Message] = frozenset()
    runs: tuple[Message, ...] = ()
    told: frozenset[Message] = frozenset()


class Broken(Exception):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Rules:
    """The protocol, and what may be left out of it to see that it is missed.

    Attributes:
        sequences: Whether messages are told apart by their sequence.
        incarnations: Whether messages of another life are turned away, and the agent
            is told that the environment died.
        stored_replies: Whether a request that comes again is answered from store.
        taken_first: Whether "taken" is said before the step is run.
        discards: Whether the reply that nobody waits for any longer is waited for.
    """

    steps: int = 3
    deaths: int = 1
    patience: int = 1
    first: int = 0
    sequences: bool = True
    incarnations: bool = True
    stored_replies: bool = True
    taken_first: bool = True
    discards: bool = True

    def start(self) -> World:
        """Return a world in which the agent has just greeted."""
        return World(
            Agent(sequence=self.first),
            Environment(sequence=self.first),
            self.deaths,
            self.patience,
        )

    def ended(self, world: World) -> bool:
        """Return whether all is done."""
        agent = world.agent
        return agent.asked == self.steps and agent.state is RequesterState.IDLE

    # ------------------------------------------------------------------- the agent

    def ask(self, world: World) -> World | None:
        agent = world.agent
        if agent.asked == self.steps or agent.state is not RequesterState.IDLE:
            return None
        machine = agent.machine()
        request = Message(agent.life, machine.begin(), agent.asked)
        agent = replace(agent.after(machine, request), asked=agent.asked + 1)
        return replace(world, agent=agent, requests=world.requests | {request})

    def stop_waiting(self, world: World) -> World | None:
        agent = world.agent
        if not world.patience or agent.state is not RequesterState.WAITING:
            return None
        machine = agent.machine()
        machine.abandon()
        if not self.discards:
            machine.state = RequesterState.IDLE
        after = agent.after(machine, agent.pending)
        return replace(world, agent=after, patience=world.patience - 1)

    def hear(self, world: World, reply: Message) -> World | None:
        agent = world.agent
        if self.incarnations and reply.life != agent.life:
            return None
        machine = agent.machine()
        sequence = reply.sequence if self.sequences else machine.sequence
        outcome = machine.receive(sequence)
        if outcome is Outcome.BREACH:
            raise Broken("the agent found a breach")
        if outcome is Outcome.DROP:
            return None
        if outcome is Outcome.ACCEPT:
            if agent.pending is None or reply.action != agent.pending.action:
                raise Broken("a reply was accepted for another request")
            if reply.life != agent.life:
                raise Broken("a reply came from another environment")
        return replace(world, agent=agent.after(machine, None))

    def notice(self, world: World) -> World | None:
        """Be told of the death, and greet who is there now."""
        agent = world.agent
        if agent.life == world.environment.life or not self.incarnations:
            return None
        told = world.told
        if agent.pending is not None and agent.pending not in world.taken:
            told = told | {agent.pending}
        agent = Agent(world.environment.life, sequence=self.first, asked=agent.asked)
        return replace(world, agent=agent, told=told)

    # ------------------------------------------------------------- the environment

    def take(self, world: World, request: Message) -> World | None:
        environment = world.environment
        if self.incarnations and request.life != environment.life:
            return None
        machine = environment.machine()
        sequence = request.sequence
        if not self.sequences and environment.state is ResponderState.READY:
            sequence = next_sequence(machine.sequence)
        outcome = machine.receive(sequence)
        if outcome is Outcome.REPEAT and not self.stored_replies:
            machine.state, outcome = ResponderState.RUNNING, Outcome.RUN
        if outcome is Outcome.BREACH:
            raise Broken("the environment found a breach")
        if outcome is not Outcome.RUN:
            return None  # dropped; or repeated, and replies arrive again as it is
        environment = replace(
            environment,
            state=machine.state,
            sequence=machine.sequence,
            request=request,
        )
        taken = world.taken | {request} if self.taken_first else world.taken
        return replace(world, environment=environment, taken=taken)

    def run(self, world: World) -> World | None:
        environment = world.environment
        if environment.request is None or environment.ran:
            return None
        request = environment.request._replace(life=environment.life)
        runs = tuple(sorted((*world.runs, request)))
        return replace(world, environment=replace(environment, ran=True), runs=runs)

    def answer(self, world: World) -> World | None:
        environment = world.environment
        if environment.request is None or not environment.ran:
            return None
        machine = environment.machine()
        reply = Message(environment.life, machine.answer(), environment.request.action)
        after = replace(environment, state=machine.state, request=None, ran=False)
        return replace(
            world,
            environment=after,
            replies=world.replies | {reply},
            taken=world.taken | {environment.request},
        )

    def die(self, world: World) -> World | None:
        if not world.deaths:
            return None
        environment = Environment(world.environment.life + 1, sequence=self.first)
        return replace(world, environment=environment, deaths=world.deaths - 1)

    # -------------------------------------------------------------------- the search

    def faults(self, world: World) -> Iterator[World | None]:
        """Give what follows a fault."""
        yield self.stop_waiting(world)
        yield self.die(world)

    def steps_from(self, world: World) -> Iterator[World | None]:
        """Give what may follow without one."""
        yield self.ask(world)
        yield self.run(world)
        yield self.answer(world)
        yield self.notice(world)
        for reply in world.replies:
            yield self.hear(world, reply)
        for request in world.requests:
            yield self.take(world, request)


def check(world: World) -> None:
    """Raise Broken if this must not be."""
    if len(set(world.runs)) < len(world.runs):
        raise Broken("a request was run twice")
    if world.told.intersection(world.runs):
        raise Broken("a request was run of which that was denied")


@dataclass
class Search:
    """All that can be reached.

    Attributes:
        before: From where each world was reached without a fault.
    """

    rules: Rules
    before: dict[World, list[World]] = field(default_factory=dict)

    def run(self) -> int:
        """Visit all; return how many there are.

        Raises:
            Broken: One of them must not be.
        """
        start = self.rules.start()
        self.before[start] = []
        ahead = [start]
        while ahead:
            world = ahead.pop()
            for follow, is_fault in (
                (self.rules.steps_from, False),
                (self.rules.faults, True),
            ):
                ahead += self._new_worlds(world, follow, is_fault)
        self._check_progress()
        return len(self.before)

    def _new_worlds(
        self,
        world: World,
        follow: Callable[[World], Iterator[World | None]],
        is_fault: bool,
    ) -> Iterator[World]:
        for found in follow(world):
            if found is None:
                continue
            if found not in self.before:
                check(found)
                self.before[found] = []
                yield found
            if not is_fault:
                self.before[found].append(world)

    def _check_progress(self) -> None:
        """Walk back from all ends: every world must be met."""
        met = {world for world in self.before if self.rules.ended(world)}
        behind = list(met)
        while behind:
            for world in self.before[behind.pop()]:
                if world not in met:
                    met.add(world)
                    behind.append(world)
        if len(met) < len(self.before):
            raise Broken("the agent may wait for ever")


@pytest.mark.parametrize(
    "rules",
    [
        Rules(steps=5, deaths=3, patience=3),
        Rules(steps=8, deaths=0, patience=8),
        Rules(steps=4, deaths=4, patience=0),
        Rules(first=LAST - 1),
        Rules(first=LAST),
    ],
    ids=["all faults", "time-outs", "deaths", "wraps late", "wraps soon"],
)
def test_nothing_that_must_not_be_can_be_reached(rules):
    """At most once, never another's result, no silent swap, ``executed`` is true."""
    assert Search(rules).run() > 100


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        (Rules(sequences=False), "run twice|another request"),
        (Rules(incarnations=False), "another environment|breach"),
        (Rules(stored_replies=False), "run twice"),
        (Rules(taken_first=False), "denied"),
        (Rules(discards=False), "breach|another request"),
    ],
    ids=[
        "no sequence",
        "no incarnation",
        "no stored reply",
        "taken after the run",
        "late replies not awaited",
    ],
)
def test_each_rule_is_missed_where_it_is_left_out(rules, what):
    """The search would find it if one of them were not kept."""
    with pytest.raises(Broken, match=what):
        Search(rules).run()


def test_a_search_without_sequences_finds_a_request_that_is_run_twice():
    """No death and no time-out are needed: a doubled request does it."""
    with pytest.raises(Broken, match="run twice"):
        Search(Rules(steps=1, deaths=0, patience=0, sequences=False)).run()


def test_a_search_without_incarnations_finds_a_silent_swap():
    """The first request is answered by an environment that was never greeted."""
    with pytest.raises(Broken, match="another environment"):
        Search(Rules(steps=1, patience=0, incarnations=False)).run()
