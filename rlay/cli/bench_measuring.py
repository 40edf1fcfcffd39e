"""What ``rlay bench`` measures, opened: channels, what is between, and one thread."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from rlay.cli import bench_parts
from rlay.cli.bench_channels import Channels, SteppedEnv
from rlay.cli.bench_copying import Copying, NotCopied, copying
from rlay.cli.bench_options import Plan
from rlay.cli.bench_parts import COPYING, LOCAL, NETWORK, STEP, Place
from rlay.cli.bench_report import Report
from rlay.cli.bench_rounds import Figures, Round, TakeTurn, Timer, Turn, run_rounds
from rlay.cli.link_ping import LinkPing
from rlay.cli.machines import (
    ALGORITHMS_BRIDGE,
    ENVIRONMENTS_BRIDGE,
    START_LIMIT_S,
    Machines,
    machines,
    this_machine,
)
from rlay.cli.raw_tcp import raw_tcp
from rlay.cli.targets import find_target
from rlay.cli.words import group_names
from rlay.processes.served import ServeCommand
from rlay.protocol.constants import MESSAGE_HEADER_BYTES
from rlay.protocol.frames import FRAME_HEADER_BYTES
from rlay.testing.timed import TAKE_STEP_TIMES
from rlay.transport.bridge_status import read_status
from rlay.transport.directory import ChannelDirectory
from rlay.transport.inspection import inspect_channel

AT_ONCE: Final = "at once"
ENVIRONMENT: Final = "environment"
_NAME: Final = "bench"
_TARGET: Final = "rlay.testing.timed:timed"
_CONNECT_LIMIT_S: Final = 10.0
"""For what is there already."""
_START_ONE_S: Final = 1.0
"""Processes for many environments are slow to start where cores are few."""
_HEADERS_BYTES: Final = FRAME_HEADER_BYTES + MESSAGE_HEADER_BYTES
_PING: Final = "a PING of 8 bytes to the bridge there and back, over a link of its own"
_WHERE: Final = {
    Place.HERE: "in another process of this machine",
    Place.BRIDGES: "behind two bridges on this machine",
}
_HEARTBEAT: Final = (
    "the median heartbeat of the link, as rlay ls shows it, waking the bridges included"
)


@dataclass(frozen=True, slots=True)
class Opened:
    """Channels that are there.

    Attributes:
        place: Where the environment is.
        what: It is, for people.
        channels: What is measured.
        local: One of the same without what is between; None where there is none.
        ping: To the bridge of an address; None where there is none.
        heartbeat_us: Of the one link of this machine's bridge, where that matters.
    """

    place: Place
    what: str
    channels: Channels
    local: Channels | None = None
    ping: LinkPing | None = None
    heartbeat_us: float | None = None


class Measurement:
    """Everything that takes turns, and what the rounds came to so far.

    Attributes:
        rounds: Those that are whole.
        on_round: Called with the rounds done and all rounds.
    """

    def __init__(
        self,
        plan: Plan,
        opened: Opened,
        turns: dict[str, TakeTurn],
        copied: Copying | None,
    ) -> None:
        """Take note of what is open."""
        self.rounds: list[Round] = []
        self.on_round: Callable[[int, int], None] | None = None
        self._plan = plan
        self._opened = opened
        self._turns = turns
        self._copied = copied

    def run(self) -> None:
        """Measure; what is done stays in :attr:`rounds` if this is interrupted."""
        plan = self._plan
        run_rounds(
            self._turns,
            self.rounds,
            rounds=plan.rounds,
            seconds=plan.seconds,
            warmup_s=plan.warmup,
            on_round=self.on_round,
        )

    def report(self) -> Report:
        """Return what at least one round came to."""
        plan, opened, copied = self._plan, self._opened, self._copied
        envs = opened.channels.envs
        return Report(
            what=opened.what,
            machine=this_machine(),
            place=opened.place.value,
            channels=len(envs),
            observation_space=str(envs[0].observation_space),
            rounds_done=len(self.rounds),
            rounds_wanted=plan.rounds,
            seconds=plan.seconds,
            single=self._figures(STEP),
            at_once=self._figures(AT_ONCE) if AT_ONCE in self._turns else None,
            message_bytes=None if copied is None else sum(copied.sizes),
            breakdown=bench_parts.break_down(
                self.rounds,
                opened.place,
                network=_how_network(opened.place),
                heartbeat_us=opened.heartbeat_us,
            ),
        )

    def _figures(self, name: str) -> Figures:
        return Figures.of([turns[name] for turns in self.rounds])


def _how_network(place: Place) -> str:
    return {Place.ADDRESS: _PING, Place.MIRROR: _HEARTBEAT}.get(place, "")


@contextlib.contextmanager
def measuring(plan: Plan) -> Iterator[Measurement]:
    """Open what a plan names, and give what measures it. Nothing is left afterwards.

    Raises:
        UnknownTarget: There is no environment of that name.
        NotStarted: A program could not be started; the message says why.
        Failed: A program did not end as it should.
        RLayError: What is there already cannot be used, or is not there.
    """
    there = plan.address is not None or plan.name is not None
    with ExitStack() as stack:
        opened = stack.enter_context(_attached(plan) if there else _started(plan))
        channels = opened.channels
        turns: dict[str, TakeTurn] = {STEP: channels.one}
        if len(channels.envs) > 1:
            turns[AT_ONCE] = channels.all
        if opened.local is not None:
            turns[LOCAL] = opened.local.one
        copied = _open_copying(channels, stack)
        if copied is not None:
            turns[COPYING] = _timed(copied.step)
        if opened.place is Place.BRIDGES and copied is not None:
            sizes = [size + _HEADERS_BYTES for size in copied.sizes]
            turns[NETWORK] = _timed(stack.enter_context(raw_tcp(*sizes)).trip)
        elif opened.ping is not None:
            stack.callback(opened.ping.close)
            turns[NETWORK] = _timed_pings(opened.ping)
        yield Measurement(plan, opened, turns, copied)


def _open_copying(channels: Channels, stack: ExitStack) -> Copying | None:
    action, transition = channels.example()
    facts = channels.envs[0].link.facts
    try:
        return stack.enter_context(copying(facts, action, transition))
    except NotCopied:
        return None


def _timed(call: Callable[[], object]) -> TakeTurn:
    def take_turn(seconds: float) -> Turn:
        timer = Timer()
        timer.calls(call, seconds)
        return timer.turn()

    return take_turn


def _timed_pings(ping: LinkPing) -> TakeTurn:
    take_turn = _timed(ping.trip)

    def take_turn_on_a_link(seconds: float) -> Turn:
        ping.connect()
        return take_turn(seconds)

    return take_turn_on_a_link


# ------------------------------------------------------------------- started for this


@contextlib.contextmanager
def _started(plan: Plan) -> Iterator[Opened]:
    """Start everything, the bridges too where they are wanted."""
    if plan.env is not None:
        find_target(plan.env)  # a typo is told before anything is started
    if plan.directory is not None:
        ChannelDirectory.open(plan.directory).close()
    with machines(".rlay-bench-", plan.directory) as played:
        with ExitStack() as envs:
            yield _open_started(plan, played, envs)
        played.end_in_order()


def _open_started(plan: Plan, played: Machines, envs: ExitStack) -> Opened:
    place = Place.BRIDGES if plan.bridges else Place.HERE
    if plan.bridges:
        played.start_bridges()
    count = plan.channels
    names = group_names(_NAME, count) if count > 1 else [_NAME]
    there = played.far if plan.bridges else played.near
    pids: dict[str, list[int]] = {ENVIRONMENT: []}
    for name in names:
        child = _serve(plan, played, f"{ENVIRONMENT} of {name}", there, name)
        pids[ENVIRONMENT].append(child)
    for what in (ENVIRONMENTS_BRIDGE, ALGORITHMS_BRIDGE):
        if plan.bridges:
            pids[what] = [played.children[what].pid]
    alone = None
    if plan.bridges:
        _serve(plan, played, f"{ENVIRONMENT} without bridges", played.here, _NAME)
    limit_s = START_LIMIT_S + count * _START_ONE_S
    opened = [_attach(played, played.near, name, limit_s, envs) for name in names]
    if plan.bridges:
        alone = Channels([_attach(played, played.here, _NAME, limit_s, envs)], {})
    what = f"{plan.env or 'An environment that does nothing'}, {_WHERE[place]}"
    if count > 1:
        what += f", on {count} channels"
    return Opened(place, what, Channels(opened, pids), alone)


def _serve(plan: Plan, played: Machines, what: str, directory: str, name: str) -> int:
    command = ServeCommand(_TARGET, directory, plan.served, allow=(TAKE_STEP_TIMES,))
    return played.serve(what, command, name).pid


def _attach(
    played: Machines, directory: str, name: str, limit_s: float, envs: ExitStack
) -> SteppedEnv:
    env = played.attach(
        lambda wait_s: SteppedEnv(name, directory=directory, connect_timeout=wait_s),
        limit_s,
    )
    envs.callback(env.close)
    return env


# --------------------------------------------------------------------- there already


@contextlib.contextmanager
def _attached(plan: Plan) -> Iterator[Opened]:
    """Attach to what runs already, at an address or on a channel."""
    where = plan.address or plan.name or ""
    names = _names(where, plan.channels)
    with ExitStack() as stack:
        envs = []
        for name in names:
            env = SteppedEnv(
                name, directory=plan.directory, connect_timeout=_CONNECT_LIMIT_S
            )
            stack.callback(env.close)
            envs.append(env)
        channels = Channels(envs, {})
        if plan.address is not None:
            yield Opened(
                Place.ADDRESS,
                f"The environment at {where}",
                channels,
                ping=LinkPing(names[0]),
            )
            return
        mirror = _is_mirror(names[0], plan.directory)
        yield Opened(
            Place.MIRROR if mirror else Place.HERE,
            f"The environment on channel {where!r}",
            channels,
            heartbeat_us=_heartbeat_us(plan.directory) if mirror else None,
        )


def _names(where: str, count: int) -> list[str]:
    """Return the channels of an address or a name, as rlay serve names a group."""
    if count == 1:
        return [where]
    place, slash, name = where.rpartition("/")
    return [f"{place}{slash}{member}" for member in group_names(name, count)]


def _is_mirror(name: str, directory: str | None) -> bool:
    facts = inspect_channel(name, directory).facts
    return facts is not None and facts.mirror


def _heartbeat_us(directory: str | None) -> float | None:
    """Return that of the only link; with several, nobody knows which one it is."""
    status = read_status(directory)
    links = [] if status is None else status["links"]
    if len(links) != 1 or links[0]["round_trip_p50_s"] is None:
        return None
    return float(links[0]["round_trip_p50_s"]) * 1e6
