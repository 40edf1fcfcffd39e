"""The lanes of a vector over several channels: all are asked before one is awaited.

So the latency of a step is paid once, however many lanes there are. A lane whose
environment is lost is reported as the algorithm wishes, and the others go on.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode

from rlay.envs.action_parts import ActionParts
from rlay.envs.channel_lanes import ChannelLanes, Results
from rlay.envs.faults import reset_needed
from rlay.envs.lane_kinds import LaneBatch, SingleLane
from rlay.envs.lane_sources import Arrival, Attached, LaneSource
from rlay.envs.rows import make_rows
from rlay.envs.spaces import build, mismatch
from rlay.envs.vector_infos import InfoForm, add_lost
from rlay.envs.vector_manner import Manner, OnLaneLost
from rlay.envs.vector_resets import (
    UNKNOWN_LANES,
    part_of_seed,
    seeds_for,
    split_options,
)
from rlay.errors import ConnectTimeout, EnvLost, SpaceMismatch, StepTimeout
from rlay.protocol.decisions import Operation
from rlay.transport.peers import Deadline

_PAUSE_S: Final = 0.005

Transition = tuple[Any, Any, Any, Any, dict[str, Any]]
Check = Callable[[], None]


class Lanes:
    """All lanes of a vector, on one channel or several.

    Attributes:
        facts: Of the first channel, with the number of all lanes.
        mode: When ended environments start again.
    """

    def __init__(
        self,
        found: Sequence[Arrival],
        source: LaneSource,
        mode: AutoresetMode,
        manner: Manner,
        batch: type[LaneBatch] = LaneBatch,
        *,
        tend: Check = lambda: None,
    ) -> None:
        """Begin sessions with the environments that were found.

        Args:
            found: In order.
            source: Where others come from, in the place of those that are lost.
            mode: When ended environments start again.
            manner: How the lanes are to behave.
            batch: What the lanes are that come several at once.
            tend: Called while lanes are lost: it starts what is to come in their
                place, where this process does that.

        Raises:
            SpaceMismatch: Their environments differ in their spaces.
        """
        self.mode = mode
        self.facts = dataclasses.replace(
            found[0].facts, num_envs=sum(each.facts.num_envs for each in found)
        )
        self._source = source
        self._manner = manner
        self._tend = tend
        num_envs = self.facts.num_envs
        self._rows = make_rows(build(self.facts.observation_space), num_envs)
        self._info_form = InfoForm(num_envs)
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._settled = False
        self._incomplete = False
        self._channels: list[ChannelLanes] = []
        first = 0
        for each in found:
            lanes = slice(first, first + each.facts.num_envs)
            kind = batch if each.facts.vector else SingleLane
            channel = kind(lanes, each, mode)
            channel.attach(each, self._judge(channel, each))
            self._channels.append(channel)
            first = lanes.stop
        self._parts = ActionParts(
            build(self.facts.action_space),
            num_envs,
            [
                each.lanes.start if isinstance(each, SingleLane) else each.lanes
                for each in self._channels
            ],
        )

    @property
    def channels(self) -> tuple[str | None, ...]:
        """The name of the channel of each lane; None for a lane that is lost."""
        return tuple(
            name for each in self._channels for name in [each.channel] * each.count
        )

    @property
    def over(self) -> bool:
        """Whether no lane has an environment."""
        return all(each.over for each in self._channels)

    # -------------------------------------------------------------- lost, and found

    def _judge(self, each: ChannelLanes, arrival: Arrival) -> Attached:
        """Return the session with an environment that is like the others.

        Raises:
            SpaceMismatch: It is not.
        """
        ours, theirs = self.facts, arrival.facts
        error = mismatch(
            ours.observation_space, theirs.observation_space, "observation spaces"
        ) or mismatch(ours.action_space, theirs.action_space, "action spaces")
        if error is not None:
            raise SpaceMismatch(
                f"channel {arrival.name!r} is unlike the others: {error}"
            )
        each.check_kind(theirs)
        return arrival.attach(self._manner.timeouts, copy=False)

    def _lose(self, each: ChannelLanes, error: EnvLost) -> None:
        """Take note of a loss; raise it where that is wished."""
        self._incomplete = True
        if each.channel is not None:
            each.lose(error)
        if self._manner.on_lost is OnLaneLost.RAISE:
            self.drop_absent(executed=None)  # one machine may have had several
            error.lanes = self.lost_lanes
            raise error

    @property
    def lost_lanes(self) -> tuple[int, ...]:
        """The lanes without an environment."""
        lost = [each.lanes for each in self._channels if each.channel is None]
        return tuple(lane for lanes in lost for lane in range(lanes.start, lanes.stop))

    def _bring_back(self, *, all_of_them: bool, check: Check = lambda: None) -> None:
        """Look for environments in the place of lost ones.

        Args:
            all_of_them: Whether to wait until no lane is without one. Otherwise it is
                waited for one, where there is none at all.
            check: Called now and then; raises where it is of no use to wait longer.

        Raises:
            ConnectTimeout: They did not come within ``connect_timeout``.
        """
        missing = [each for each in self._channels if each.channel is None]
        limit_s = self._manner.timeouts.connect
        until = math.inf if limit_s is None else time.monotonic() + limit_s
        while missing:
            self._tend()
            missing = [
                each
                for each in missing
                if not each.look(self._source.replacing, self._judge)
            ]
            some = len(missing) < len(self._channels)
            if not missing or (some and not all_of_them):
                break
            check()
            if time.monotonic() >= until:
                raise ConnectTimeout(
                    f"no environment came in place of {missing[0]} within {limit_s} s "
                    f"({missing[0].problem})"
                )
            time.sleep(_PAUSE_S)
        self._incomplete = bool(missing)

    def _failed(self, each: ChannelLanes, error: Exception) -> None:
        """Take note of a loss, where that is not to be raised.

        Raises:
            EnvLost: Where it is.
            Exception: Any other error, with a note of the lanes that it concerns.
        """
        if isinstance(error, EnvLost):
            self._lose(each, error)
            return
        error.add_note(f"{each} of the vector, on channel {each.channel!r}")
        raise error

    # ------------------------------------------------------------------------ step

    def step(self, actions: Any) -> Transition:
        """Step all lanes; see ``ClientVectorEnv.step``."""
        self.send(actions)
        return self.receive()

    def send(self, actions: Any) -> None:
        """Send each lane its action, and wait for none.

        Raises:
            InvalidAction: An action cannot be sent; ValueError: there are too few or
                too many. Nothing was sent.
            ConnectTimeout: A lost environment did not come back in time.
            EnvLost: An environment is lost, where that is to be raised.
        """
        if not self._settled:
            raise reset_needed("the last step has no result")
        if self._incomplete:
            wait = self._manner.on_lost is OnLaneLost.WAIT
            self._bring_back(all_of_them=wait)
        if self.mode is AutoresetMode.DISABLED:
            refuse_ended(np.flatnonzero(self._ended).tolist())
        parts = self._parts.of(actions)
        self._write(parts)
        self._settled = False
        now = time.monotonic()
        for each in self._channels:
            try:
                each.send(now)
            except Exception as error:
                self._failed(each, error)

    def _write(self, parts: list[Any]) -> None:
        """Write to all; where one cannot be written to, take back what was written."""
        try:
            for each, part in zip(self._channels, parts, strict=True):
                try:
                    each.write(part)
                except Exception as error:
                    self._failed(each, error)
        except BaseException:
            for each in self._channels:
                each.undo()
            raise

    def receive(self) -> Transition:
        """Wait for the transition of every lane that was sent an action.

        Raises:
            EnvLost: An environment is lost, where that is to be raised.
            The errors of ``ClientEnv.step``, with a note of the lanes they concern.
        """
        results = Results(self._rows, self.facts.num_envs)
        for each in self._channels:
            try:
                each.receive(results)
            except Exception as error:
                self._failed(each, error)
                each.report_lost(results)
        if self.mode is AutoresetMode.SAME_STEP:
            self._receive_first(results)
        elif self.mode is AutoresetMode.DISABLED:
            self._ended = results.terminations | results.truncations
        self._settled = True
        return (
            self._observations(),
            results.rewards,
            results.terminations,
            results.truncations,
            self._infos(results),
        )

    def _receive_first(self, results: Results) -> None:
        """Wait for the first observations after the episodes that ended."""
        for each in self._channels:
            try:
                each.receive_first(results)
            except Exception as error:
                self._failed(each, error)
                each.note_lost(results)  # the end of its episode is told already

    def _observations(self) -> Any:
        return self._rows.snapshot() if self._manner.copy else self._rows.view()

    def _infos(self, results: Results) -> dict[str, Any]:
        infos = self._info_form.joined(results.infos) if results.infos else {}
        if results.lost:
            infos = add_lost(infos, results.lost, self.facts.num_envs)
        return infos

    # ----------------------------------------------------------------------- reset

    def reset(
        self, seed: Any, options: dict[str, Any] | None, check: Check = lambda: None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of a mask; see ``ClientVectorEnv.reset``."""
        seeds_for(seed, self.facts.num_envs)  # whether it fits
        options, mask = split_options(options, self.facts.num_envs)
        if mask is not None and not self._settled:
            raise reset_needed(UNKNOWN_LANES)
        if mask is None:
            mask = np.ones(self.facts.num_envs, dtype=np.bool_)
        self._drop_broken()
        self._check_left_out(mask)
        patient = self._manner.on_lost is not OnLaneLost.TRUNCATE
        self._bring_back(all_of_them=patient, check=check)
        self._settled = False
        chosen = [each for each in self._channels if mask[each.lanes].any()]
        results = self._reset(chosen, seed, options, mask)
        self._settled = True
        self._ended &= ~mask
        return self._observations(), self._infos(results)

    def _check_left_out(self, mask: Any) -> None:
        """Raise EnvLost where a mask leaves lost lanes out, if losses are raised."""
        left_out = [lane for lane in self.lost_lanes if not mask[lane]]
        if left_out and self._manner.on_lost is OnLaneLost.RAISE:
            error = EnvLost(
                f"lanes {left_out} are lost, and reset_mask leaves them out; name them "
                "too, or reset all",
                executed=False,
            )
            error.lanes = self.lost_lanes
            raise error

    def unsettle(self) -> None:
        """Take note that a call was broken off: all lanes must be reset next."""
        self._settled = False

    def drop_absent(self, *, executed: bool | None = False) -> None:
        """Take note of who went away while nobody waited for anything.

        Args:
            executed: Of what is outstanding; None where it may have been run.
        """
        for each in self._channels:
            each.look_after(executed=executed)
            self._incomplete |= each.channel is None

    def _drop_broken(self) -> None:
        for each in self._channels:
            if each.channel is not None and each.over:
                self._incomplete = True
                each.lose(EnvLost("its session is over", executed=None))
        self.drop_absent()

    def _reset(
        self, chosen: list[ChannelLanes], seed: Any, options: Any, mask: Any
    ) -> Results:
        results = Results(self._rows, self.facts.num_envs)
        for each in chosen:
            part = each.lanes
            try:
                each.send_reset(part_of_seed(seed, part), options, mask[part])
            except Exception as error:
                self._failed(each, error)
        for each in chosen:
            try:
                each.receive_reset(results)
            except Exception as error:
                self._failed(each, error)
                each.note_lost(results)
        return results

    # ------------------------------------------------------------------------ call

    def call(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> tuple[Any, ...]:
        """Ask every lane, and return what each said; None for a lane that is lost.

        All answers are awaited, whatever one of them is.

        Raises:
            EnvLost: A lane has no environment, where that is to be raised.
            ValueError: A list of values for :attr:`Operation.SET` is of another length.
            Exception: The first that a lane raised, with a note of the lanes.
        """
        shares = self._split(operation, args)
        settled, self._settled = self._settled, False  # until all have answered
        failures: list[Exception] = []
        sent: list[Deadline | None] = []
        for each, share in zip(self._channels, shares, strict=True):
            try:
                sent.append(each.link.call_send(operation, name, share, kwargs))
            except Exception as error:
                sent.append(None)
                self._fail_later(each, error, failures)
        results: list[Any] = []
        for each, patience in zip(self._channels, sent, strict=True):
            value: Any = None
            try:
                if patience is not None:
                    value = each.link.call_wait(patience)
            except Exception as error:
                self._fail_later(each, error, failures)
            results += each.results_of(value)
        if not any(isinstance(error, StepTimeout) for error in failures):
            self._settled = settled
        if failures:
            raise failures[0]
        return tuple(results)

    def _fail_later(
        self, each: ChannelLanes, error: Exception, failures: list[Exception]
    ) -> None:
        """Keep what is to be raised once all lanes have answered."""
        try:
            self._failed(each, error)
        except Exception as raised:
            failures.append(raised)

    def _split(self, operation: Operation, args: Any) -> list[Any]:
        """Return the arguments for each channel: lists of values are shared out."""
        if operation is not Operation.SET or not isinstance(args[0], (list, tuple)):
            return [args] * len(self._channels)
        (values,) = args
        if len(values) != self.facts.num_envs:
            raise ValueError(
                f"{len(values)} values were given for {self.facts.num_envs} "
                "environments"
            )
        return [each.share_of(values) for each in self._channels]

    # --------------------------------------------------------------------- the end

    def close(self) -> None:
        """Tell every backend, and leave all channels.

        Raises:
            CloseTimeout: A backend did not answer within ``close_timeout``, which is
                for all together. The channels are left all the same.
        """
        with ExitStack() as leaving:
            leaving.callback(self.let_go)
            sent = []
            for each in self._channels:
                if not each.over:
                    with suppress(EnvLost):
                        sent.append((each.link, each.link.close_send()))
            for link, patience in sent:
                if patience is not None:
                    leaving.callback(_wait_for_goodbye, link, patience)

    def let_go(self) -> None:
        """Leave all channels at once. Twice is harmless."""
        for each in self._channels:
            each.let_go()
        self._source.close()


def refuse_ended(lanes: list[int]) -> None:
    """Raise, as Gymnasium does, if there are ended lanes that nothing resets.

    Raises:
        AssertionError: There are.
    """
    if lanes:
        raise AssertionError(
            f"environments {lanes} have ended: reset them with "
            "options={'reset_mask': ...} (autoreset_mode is DISABLED)"
        )


def _wait_for_goodbye(link: Any, patience: Any) -> None:
    with suppress(EnvLost):
        link.call_wait(patience)
