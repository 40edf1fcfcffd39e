"""The lanes of one channel, of a vector over several channels.

What the lanes of every kind have in common: they lose their environment and get another
one, are stepped, reset, and reported.
"""

import logging
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import numpy as np
from gymnasium.vector import AutoresetMode

from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.lane_sources import Arrival, Attached, Search
from rlay.envs.rows import Rows
from rlay.envs.vector_infos import LaneInfo
from rlay.errors import EnvLost, RLayError
from rlay.protocol.greeting import EnvironmentFacts
from rlay.transport.peers import Deadline

_log = logging.getLogger("rlay.envs.client_vector_env")

_LOOK_EVERY_S: Final = 0.02

Replace = Callable[[Arrival], Search]
Judge = Callable[["ChannelLanes", Arrival], Attached]


class Act(Enum):
    """What a step of the vector is for some of its lanes."""

    STEP = "step"
    RESET = "reset"
    NOTHING = "nothing"


class Results:
    """What a step or a reset of all lanes returns, while it comes together.

    Attributes:
        rows: The observations; rows that nothing is put into keep their last one.
        rewards: float64 of shape (num_envs,).
        terminations: bool of shape (num_envs,).
        truncations: bool of shape (num_envs,).
        infos: In the order of the lanes: a lane's or a range of lanes' info.
        lost: Why lanes have no environment.
    """

    def __init__(self, rows: Rows, num_envs: int) -> None:
        """Begin with nothing."""
        self.rows = rows
        self.rewards = np.zeros(num_envs, dtype=np.float64)
        self.terminations = np.zeros(num_envs, dtype=np.bool_)
        self.truncations = np.zeros(num_envs, dtype=np.bool_)
        self.infos: list[LaneInfo] = []
        self.lost: dict[int, EnvLost] = {}


class ChannelLanes:
    """What the lanes of a single environment and of a batch have in common.

    Attributes:
        lanes: Which of the vector's.
        lost: Why there is no environment; None where there is one.
    """

    def __init__(self, lanes: slice, arrival: Arrival, mode: AutoresetMode) -> None:
        """Begin without a session; see :meth:`attach`."""
        self.lanes = lanes
        self.lost: EnvLost | None = None
        self._arrival = arrival
        self._mode = mode
        self._attachment: Attached | None = None
        self._search: Search | None = None
        self._look_at = 0.0
        self._fresh = False
        self._untold = False
        self._act = Act.NOTHING
        self._patience: Deadline | None = None

    @property
    def count(self) -> int:
        """How many lanes these are."""
        count: int = self.lanes.stop - self.lanes.start
        return count

    @property
    def channel(self) -> str | None:
        """The name of the channel; None where there is none."""
        return None if self._attachment is None else self._arrival.name

    @property
    def link(self) -> AlgorithmLink:
        """The session.

        Raises:
            EnvLost: There is none.
        """
        if self._attachment is None:
            raise EnvLost(f"{self} of the vector: {self.lost}", executed=False)
        return self._attachment.link

    @property
    def over(self) -> bool:
        """Whether there is no session that could go on."""
        return self._attachment is None or self._attachment.link.over

    @property
    def absent(self) -> bool:
        """Whether a step can only report that the lanes are lost.

        A loss that a call or a reset met is told before a new environment steps: nobody
        gets another one unawares. Where nothing is reset by itself, a new environment
        waits for the algorithm.
        """
        waits = self._fresh and self._mode is AutoresetMode.DISABLED
        return self._attachment is None or self._untold or waits

    def check_kind(self, facts: EnvironmentFacts) -> None:
        """Refuse an environment that these lanes could not be.

        Raises:
            SpaceMismatch: It is no batch where one is wanted, or a batch where none is;
                or it resets itself in another mode.
        """
        raise NotImplementedError

    def attach(self, arrival: Arrival, attachment: Attached) -> None:
        """Begin a session."""
        self._arrival, self._attachment = arrival, attachment
        self._fresh = True
        split = attachment.link.compile_split_step()
        self._write, self._undo, self._send_step, self._wait = split

    # ------------------------------------------------------------- lost, and found

    def lose(self, error: EnvLost) -> None:
        """Take note of the end of an environment, and leave its channel."""
        # Not the error itself: its traceback holds the vector, and its user's frames.
        self.lost = EnvLost(str(error), error.executed)
        self._untold = True
        self.let_go()

    def look_after(self, *, executed: bool | None = False) -> bool:
        """Take note of an environment that went away meanwhile.

        Args:
            executed: Of what is outstanding; None where it may have been run.

        Returns:
            Whether it was there until now.
        """
        if self._attachment is None or self._attachment.link.over:
            return False
        try:
            self._attachment.link.channel.watch.check()
        except RLayError as error:
            self.lose(EnvLost(str(error), executed))
            return True
        return False

    def let_go(self) -> None:
        """Leave the channel, or stop looking for another one. Twice is harmless."""
        self._act, self._patience = Act.NOTHING, None
        attachment, self._attachment = self._attachment, None
        search, self._search = self._search, None
        if attachment is not None:
            attachment.let_go()
        if search is not None:
            search.give_up()

    def look(self, replace: Replace, judge: Judge) -> bool:
        """Return whether there is a session, or one has come since the last look.

        Args:
            replace: Returns what looks for another environment in this one's place.
            judge: Returns the session with an environment that has greeted, or raises
                why it is not like those before.
        """
        if self._attachment is not None:
            return True
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + _LOOK_EVERY_S
        if self._search is None:
            self._search = replace(self._arrival)
        found = self._search.look()
        if found is None:
            return False
        (arrival,) = found
        try:
            attachment = judge(self, arrival)
        except RLayError as error:
            # A stranger that comes in the place of an old hand must not end a run.
            self._search.turn_away(arrival, error)
            return False
        except BaseException:
            arrival.let_go()
            raise
        search, self._search = self._search, None
        search.give_up()
        self.attach(arrival, attachment)
        _log.info("%s are back, on channel %r", self, self.channel)
        return True

    @property
    def problem(self) -> str:
        """Why there is no environment, and what is in the way of another one."""
        texts = [str(self.lost), "" if self._search is None else self._search.problem]
        return "; ".join(text for text in texts if text)

    def report_lost(self, results: Results) -> None:
        """Report the lanes as truncated: they have no environment."""
        self._untold = False
        self._report_truncated(results)
        self.note_lost(results)

    def note_lost(self, results: Results) -> None:
        """Say why the lanes have no environment."""
        if self.lost is not None:
            for lane in range(self.lanes.start, self.lanes.stop):
                results.lost[lane] = self.lost

    def _report_truncated(self, results: Results) -> None:
        results.truncations[self.lanes] = True
        if self._mode is AutoresetMode.SAME_STEP:
            for lane in range(self.lanes.start, self.lanes.stop):
                final = {"final_obs": results.rows.row(lane), "final_info": {}}
                results.infos.append((lane, final))

    # ------------------------------------------------------------------------ step

    def write(self, actions: Any) -> None:
        """Write a step, or nothing where there is none to be sent."""
        self._patience = None
        self._act = self._next_act()
        if self._act is Act.STEP:
            self._write(actions)

    def undo(self) -> None:
        """Take back what :meth:`write` wrote."""
        if self._act is Act.STEP and self._attachment is not None:
            self._undo()

    def send(self, now: float) -> None:
        """Send what was written, or a Reset, or nothing."""
        if self._act is Act.STEP:
            self._send_step(now)
        elif self._act is Act.RESET:
            self.send_reset()

    def _next_act(self) -> "Act":
        """Return what the next step is for these lanes."""
        if self.absent:
            return Act.NOTHING
        return Act.RESET if self._fresh else Act.STEP

    def receive(self, results: Results) -> None:
        """Wait for what was sent, and put it among the results.

        Raises:
            EnvLost: There is no environment.
        """
        if self._act is Act.STEP:
            self._receive_step(results)
        elif self.absent:
            self.report_lost(results)
        else:
            if self._fresh and self._mode is not AutoresetMode.NEXT_STEP:
                # The end of the episode before was told, and its follower is here.
                self._report_truncated(results)
            self.receive_reset(results)

    def _receive_step(self, results: Results) -> None:
        raise NotImplementedError

    def receive_first(self, results: Results) -> None:
        """Wait for the first observation after an episode that ended in this step."""

    # ----------------------------------------------------------------------- reset

    def send_reset(
        self, seed: Any = None, options: Any = None, mask: Any = None
    ) -> None:
        """Send Reset.

        Args:
            seed: None, of the first lane, or a list with one for each lane.
            options: For the environments.
            mask: bool, of the lanes that are reset; None for all.
        """
        self._patience = self._reset_send(seed, options, mask)

    def _reset_send(self, seed: Any, options: Any, mask: Any) -> Deadline:
        raise NotImplementedError

    def receive_reset(self, results: Results) -> None:
        """Wait for the answer to a Reset, and put it among the results."""
        link = self.link
        patience, self._patience = self._patience, None
        assert patience is not None  # noqa: S101 - send_reset() set it
        observation, info = link.reset_wait(patience)
        self._fresh, self._untold, self.lost = False, False, None
        self._take_reset(observation, info, results)

    def _take_reset(self, observation: Any, info: Any, results: Results) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------ call

    def results_of(self, value: Any) -> tuple[Any, ...]:
        """Return the result of a Call for each lane."""
        raise NotImplementedError

    def share_of(self, values: Any) -> tuple[Any, ...]:
        """Return the arguments of a Call that sets one value of each lane's own."""
        raise NotImplementedError

    def __str__(self) -> str:
        """Name the lanes."""
        first, last = self.lanes.start, self.lanes.stop - 1
        return f"lane {first}" if first == last else f"lanes {first} to {last}"
