"""What ``rlay bench`` measures, opened: channels, what is between, and one thread."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from rlay.cli import bench_parts
from rlay.cli.bench_channels import Alternately, AtOnce, Single, SteppedEnv
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
from rlay.cli.watched_env import WatchedVectorEnv
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
        single: One of them alone.
        at_once: All of them; None where there is one.
        local: One without what is between; None where nothing is, or was started.
        ping: To the bridge of an address; None where there is none.
        heartbeat_us: Of the one link of this machine's bridge, where that matters.
    """

    place: Place
    what: str
    single: Single
    at_once: AtOnce | None = None
    local: Single | None = None
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
        self._space = str(opened.single.env.observation_space)

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
        return Report(
            what=opened.what,
            machine=this_machine(),
            place=opened.place.value,
            channels=plan.channels,
            observation_space=self._space,
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
        turns: dict[str, TakeTurn] = {STEP: opened.single.take_turn}
        if opened.at_once is not None:
            turns[AT_ONCE] = opened.at_once.take_turn
        if opened.local is not None:
            turns[LOCAL] = opened.local.take_turn
        copied = _open_copying(opened.single, stack)
        if copied is not None:
            turns[COPYING] = _timed(copied.step)
        if opened.place is Place.BRIDGES and copied is not None:
            sizes = [size + _HEADERS_BYTES for size in copied.sizes]
            turns[NETWORK] = _timed(stack.enter_context(raw_tcp(*sizes)).trip)
        elif opened.ping is not None:
            stack.callback(opened.ping.close)
            turns[NETWORK] = _timed_pings(opened.ping)
        yield Measurement(plan, opened, turns, copied)


def _open_copying(single: Single, stack: ExitStack) -> Copying | None:
    action, transition = single.example()
    try:
        return stack.enter_context(copying(single.env.facts, action, transition))
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
            yield _Starting(plan, played, envs).open()
        played.end_in_order()


class _Starting:
    """Environments that are started, and attached to."""

    def __init__(self, plan: Plan, played: Machines, envs: ExitStack) -> None:
        self._plan = plan
        self._played = played
        self._envs = envs
        self._limit_s = START_LIMIT_S + plan.channels * _START_ONE_S
        self._pids: dict[str, list[int]] = {}

    def open(self) -> Opened:
        plan, played = self._plan, self._played
        place = Place.BRIDGES if plan.bridges else Place.HERE
        if plan.bridges:
            played.start_bridges()
            for what in (ENVIRONMENTS_BRIDGE, ALGORITHMS_BRIDGE):
                self._pids[what] = [played.children[what].pid]
        there = played.far if plan.bridges else played.near
        names = group_names(_NAME, plan.channels) if plan.channels > 1 else []
        # All are started before the first is waited for.
        pids = [self._serve(there, _NAME)]
        many_pids = [self._serve(there, name) for name in names]
        if plan.bridges:
            self._serve(played.here, _NAME)
        single = self._attach_one(played.near, pids)
        at_once = self._attach_many(names, many_pids) if names else None
        local = self._attach_one(played.here, []) if plan.bridges else None
        what = f"{plan.env or 'An environment that does nothing'}, {_WHERE[place]}"
        if names:
            what += f", on {plan.channels} channels"
        return Opened(place, what, single, at_once, local)

    def _serve(self, directory: str, name: str) -> int:
        served, allow = self._plan.served, (TAKE_STEP_TIMES,)
        what = f"{ENVIRONMENT} of {name}"
        if directory == self._played.here:
            what += " without bridges"
        command = ServeCommand(_TARGET, directory, served, allow=allow)
        return self._played.serve(what, command, name).pid

    def _attach_one(self, directory: str, pids: list[int]) -> Single:
        env = self._played.attach(
            lambda look, limit_s: SteppedEnv(
                _NAME, look, directory=directory, connect_timeout=limit_s
            ),
            self._limit_s,
        )
        self._envs.callback(env.close)
        return Single(lambda: env, {ENVIRONMENT: pids, **self._pids})

    def _attach_many(self, names: list[str], pids: list[int]) -> AtOnce:
        near = self._played.near
        envs = self._played.attach(
            lambda look, limit_s: WatchedVectorEnv(
                names, look, directory=near, connect_timeout=limit_s
            ),
            self._limit_s,
        )
        self._envs.callback(envs.close)
        return AtOnce(lambda: envs, {ENVIRONMENT: pids, **self._pids})


# --------------------------------------------------------------------- there already


@contextlib.contextmanager
def _attached(plan: Plan) -> Iterator[Opened]:
    """Attach to what runs already, at an address or on a channel."""
    where = plan.address or plan.name or ""
    names = _names(where, plan.channels)
    options = {"directory": plan.directory, "connect_timeout": _CONNECT_LIMIT_S}
    ways = Alternately(
        lambda: SteppedEnv(names[0], _nothing, **options),
        lambda: WatchedVectorEnv(names, _nothing, **options),
    )
    with contextlib.closing(ways):
        at_once = AtOnce(ways.many, {}) if len(names) > 1 else None
        single = Single(ways.single, {})
        if plan.address is not None:
            what = f"The environment at {where}"
            ping = LinkPing(names[0])
            yield Opened(Place.ADDRESS, what, single, at_once, ping=ping)
            return
        mirror = _is_mirror(names[0], plan.directory)
        yield Opened(
            Place.MIRROR if mirror else Place.HERE,
            f"The environment on channel {where!r}",
            single,
            at_once,
            heartbeat_us=_heartbeat_us(plan.directory) if mirror else None,
        )


def _nothing() -> None:
    """Wait on: nobody knows whether it will come."""


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
