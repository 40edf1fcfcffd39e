"""The lanes of a vector over several channels: all are asked before one is awaited.

So the latency of a step is paid once, however many lanes there are. A lane whose
environment is lost is reported as the algorithm wishes, and the others go on.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from enum import StrEnum
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, iterate

from rlay.envs.attachments import Attachment
from rlay.envs.batch_slices import slice_batch
from rlay.envs.candidates import Candidate, Candidates
from rlay.envs.channel_lanes import ChannelLanes, LaneBatch, Results, SingleLane
from rlay.envs.faults import reset_needed
from rlay.envs.gathering import Gathering, Welcomed
from rlay.envs.rows import make_rows
from rlay.envs.spaces import build, mismatch
from rlay.envs.timeouts import Timeouts
from rlay.envs.vector_infos import InfoForm
from rlay.envs.vector_resets import seeds_for, split_options
from rlay.errors import ChannelError, ConnectTimeout, EnvLost, SpaceMismatch
from rlay.protocol.decisions import Operation
from rlay.protocol.greeting import Wishes

_PAUSE_S: Final = 0.005

Transition = tuple[Any, Any, Any, Any, dict[str, Any]]
Check = Callable[[], None]


class OnLaneLost(StrEnum):
    """What becomes of a vector when a lane loses its environment."""

    RAISE = "raise"
    TRUNCATE = "truncate"
    WAIT = "wait"


@dataclasses.dataclass(frozen=True)
class Manner:
    """How the lanes are to behave.

    Attributes:
        on_lost: What becomes of the vector when a lane loses its environment.
        timeouts: Limits of waits.
        copy: Whether observations are copies.
    """

    on_lost: OnLaneLost
    timeouts: Timeouts
    copy: bool


def mode_of_all(found: Sequence[Welcomed], wanted: AutoresetMode) -> AutoresetMode:
    """Return the autoreset mode of a vector over some channels.

    Args:
        found: The channels. Single environments take any mode.
        wanted: The algorithm's, where all are single.

    Raises:
        ChannelError: Their vector environments have different ones.
    """
    modes = {
        each.facts.autoreset_mode: each.candidate.client.name
        for each in found
        if each.facts.vector
    }
    if len(modes) > 1:
        told = ", ".join(f"{name!r} has {mode}" for mode, name in modes.items())
        raise ChannelError(
            f"the channels have different autoreset modes: {told}. Serve ids or "
            "factories, which adopt the mode that is asked for"
        )
    for mode in modes:
        return AutoresetMode(mode or AutoresetMode.NEXT_STEP)
    return wanted


class Lanes:
    """All lanes of a vector, on one channel or several.

    Attributes:
        facts: Of the first channel, with the number of all lanes.
        mode: When ended environments start again.
    """

    def __init__(
        self,
        found: Sequence[Welcomed],
        candidates: Candidates,
        wishes: Wishes,
        mode: AutoresetMode,
        manner: Manner,
    ) -> None:
        """Begin sessions with the backends that were found.

        Raises:
            SpaceMismatch: Their environments differ in their spaces.
        """
        self.mode = mode
        self.facts = dataclasses.replace(
            found[0].facts, num_envs=sum(each.facts.num_envs for each in found)
        )
        self._candidates = candidates
        self._wishes = wishes
        self._manner = manner
        num_envs = self.facts.num_envs
        self._single_action_space = build(self.facts.action_space)
        self._action_space = batch_space(self._single_action_space, num_envs)
        self._rows = make_rows(build(self.facts.observation_space), num_envs)
        self._info_form = InfoForm(num_envs)
        self._ended = np.zeros(num_envs, dtype=np.bool_)
        self._settled = False
        self._channels: list[ChannelLanes] = []
        first = 0
        for each in found:
            lanes = slice(first, first + each.facts.num_envs)
            kind = LaneBatch if each.facts.vector else SingleLane
            channel = kind(lanes, each.candidate, mode)
            channel.attach(each.candidate, self._judge(each))
            self._channels.append(channel)
            first = lanes.stop
        self._singles = any(isinstance(each, SingleLane) for each in self._channels)

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

    def _judge(self, welcomed: Welcomed) -> Attachment:
        """Return the session with a backend whose environments are like the others.

        Raises:
            SpaceMismatch: They are not.
        """
        ours, theirs = self.facts, welcomed.facts
        error = mismatch(
            ours.observation_space, theirs.observation_space, "observation spaces"
        ) or mismatch(ours.action_space, theirs.action_space, "action spaces")
        if error is not None:
            name = welcomed.candidate.client.name
            raise SpaceMismatch(f"channel {name!r} is unlike the others: {error}")
        return welcomed.attach(self._manner.timeouts, copy=False)

    def _replace(self, candidate: Candidate, count: int) -> Gathering:
        """Return what looks for another channel in a lost one's place."""
        return Gathering(
            self._candidates.replacing(candidate),
            self._wishes,
            self._manner.timeouts.connect,
            wanted=count,
            each=count,
        )

    def _lose(self, each: ChannelLanes, error: EnvLost) -> None:
        """Take note of a loss; raise it where that is wished."""
        each.lose(error)
        if self._manner.on_lost is OnLaneLost.RAISE:
            error.lanes = tuple(range(each.lanes.start, each.lanes.stop))
            raise error

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
            missing = [
                each for each in missing if not each.look(self._replace, self._judge)
            ]
            some = len(missing) < len(self._channels)
            if not missing or (some and not all_of_them):
                return
            check()
            if time.monotonic() >= until:
                raise ConnectTimeout(
                    f"no environment came in place of {missing[0]} within {limit_s} s "
                    f"({missing[0].lost})"
                )
            time.sleep(_PAUSE_S)

    def _attempt(self, each: ChannelLanes, act: Callable[..., Any], *args: Any) -> bool:
        """Do something about some lanes; return whether they still have environments.

        Raises:
            EnvLost: They have not, where that is to be raised.
            Exception: What ``act`` raised, with a note of the lanes that it concerns.
        """
        try:
            act(*args)
        except EnvLost as error:
            self._lose(each, error)
            return False
        except Exception as error:
            error.add_note(f"{each} of the vector, on channel {each.channel!r}")
            raise
        return True

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
        wait = self._manner.on_lost is OnLaneLost.WAIT
        self._bring_back(all_of_them=wait)
        self._check_ended()
        present = [each for each in self._channels if not each.absent]
        self._write(present, actions)
        self._settled = False
        now = time.monotonic()
        for each in present:
            self._attempt(each, each.send, now)

    def _check_ended(self) -> None:
        if self.mode is AutoresetMode.DISABLED and self._ended.any():
            raise AssertionError(
                f"environments {np.flatnonzero(self._ended).tolist()} have ended: "
                "reset them with options={'reset_mask': ...} (autoreset_mode is "
                "DISABLED)"
            )

    def _write(self, present: list[ChannelLanes], actions: Any) -> None:
        items = self._single_actions(actions)
        space = self._single_action_space
        try:
            for each in present:
                if isinstance(each, SingleLane):
                    part = items[each.lanes.start]
                else:
                    part = slice_batch(space, actions, each.lanes)
                self._attempt(each, each.write, part)
        except BaseException:
            for each in present:
                each.undo()
            raise

    def _single_actions(self, actions: Any) -> list[Any]:
        """Return the action of each lane.

        Raises:
            ValueError: There are too few or too many.
        """
        items = list(iterate(self._action_space, actions))
        if len(items) != self.facts.num_envs:
            raise ValueError(
                f"{len(items)} actions were given for {self.facts.num_envs} "
                "environments"
            )
        return items

    def receive(self) -> Transition:
        """Wait for the transition of every lane that was sent an action.

        Raises:
            EnvLost: An environment is lost, where that is to be raised.
            The errors of ``ClientEnv.step``, with a note of the lanes they concern.
        """
        results = Results(self._rows, self.facts.num_envs)
        for each in self._channels:
            if each.absent or not self._attempt(each, each.receive, results):
                each.report_lost(results)
        if self.mode is AutoresetMode.SAME_STEP:
            self._receive_first(results)
        self._settled = True
        self._ended = np.logical_or(results.terminations, results.truncations)
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
            if not (each.absent or self._attempt(each, each.receive_first, results)):
                each.report_lost(results)
        lost = [each for each in self._channels if each.channel is None]
        if lost and self._manner.on_lost is OnLaneLost.WAIT:
            self._bring_back(all_of_them=True)
            for each in lost:
                self._attempt(each, each.reset_now, results)

    def _observations(self) -> Any:
        return self._rows.snapshot() if self._manner.copy else self._rows.view()

    def _infos(self, results: Results) -> dict[str, Any]:
        return self._info_form.joined(results.infos)

    # ----------------------------------------------------------------------- reset

    def reset(
        self, seed: Any, options: dict[str, Any] | None, check: Check = lambda: None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of a mask; see ``ClientVectorEnv.reset``."""
        seeds = seeds_for(seed, self.facts.num_envs)
        options, mask = split_options(options, self.facts.num_envs)
        if mask is not None and not self._settled:
            raise reset_needed(
                "reset_mask names some of the environments, and the others have no "
                "known state"
            )
        if mask is None:
            mask = np.ones(self.facts.num_envs, dtype=np.bool_)
        self._drop_broken()
        patient = self._manner.on_lost is not OnLaneLost.TRUNCATE
        self._bring_back(all_of_them=patient, check=check)
        self._settled = False
        chosen = [each for each in self._channels if mask[each.lanes].any()]
        results = self._reset(chosen, seeds, options, mask)
        self._settled = True
        self._ended &= ~mask
        return self._observations(), self._infos(results)

    def _drop_broken(self) -> None:
        for each in self._channels:
            if each.channel is not None and each.over:
                each.lose(EnvLost("its session is over", executed=None))

    def _reset(
        self, chosen: list[ChannelLanes], seeds: list[Any], options: Any, mask: Any
    ) -> Results:
        results = Results(self._rows, self.facts.num_envs)
        sent = []
        for each in chosen:
            part = each.lanes
            if each.channel is not None and self._attempt(
                each, each.send_reset, seeds[part], options, mask[part]
            ):
                sent.append(each)
        for each in chosen:
            if not (each in sent and self._attempt(each, each.receive_reset, results)):
                each.report_lost(results)
        return results

    # ------------------------------------------------------------------------ call

    def call(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> tuple[Any, ...]:
        """Ask every lane, and return what each said.

        Raises:
            EnvLost: A lane has no environment.
            ValueError: A list of values for :attr:`Operation.SET` is of another length.
        """
        shares = self._split(operation, args)
        results: list[Any] = []
        try:
            sent = [
                each.link.call_send(operation, name, share, kwargs)
                for each, share in zip(self._channels, shares, strict=True)
            ]
            for each, patience in zip(self._channels, sent, strict=True):
                results += each.results_of(each.link.call_wait(patience))
        except EnvLost:
            self._drop_broken()
            raise
        return tuple(results)

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
        self._candidates.close()


def _wait_for_goodbye(link: Any, patience: Any) -> None:
    with suppress(EnvLost):
        link.call_wait(patience)
