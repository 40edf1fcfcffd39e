"""The lanes of a game with several environments on one clock.

The game does what it is told, so the autoreset modes are seen to here::

    NEXT_STEP   the step after an end says who resets instead of acting
    SAME_STEP   the step that ends an episode sends a Reset too, before it returns
    DISABLED    nothing is reset unless the algorithm says so
"""

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rlay.envs.channel_lanes import Act, Results
from rlay.envs.lane_kinds import LaneBatch
from rlay.envs.lane_sources import Arrival
from rlay.envs.vector_resets import seeds_for
from rlay.protocol.greeting import EnvironmentFacts
from rlay.transport.peers import Deadline


class GameLanes(LaneBatch):
    """Lanes that are reset by a mask, which the algorithm's end decides on."""

    def __init__(self, lanes: slice, arrival: Arrival, mode: AutoresetMode) -> None:
        """Begin without a session, and without an episode that has ended."""
        super().__init__(lanes, arrival, mode)
        self._ended = np.zeros(self.count, dtype=np.bool_)
        self._resetting = np.ones(self.count, dtype=np.bool_)

    def check_kind(self, facts: EnvironmentFacts) -> None:
        """Refuse nobody: what a game must be was said when it joined."""

    # ------------------------------------------------------------------------ step

    def write(self, actions: Any) -> None:
        """Write a step, or nothing where there is none to be sent."""
        self._patience = None
        self._act = self._next_act()
        if self._act is Act.STEP:
            resets = self._mode is AutoresetMode.NEXT_STEP and self._ended.any()
            self._write(actions, self._ended if resets else None)

    def _receive_step(self, results: Results) -> None:
        observations, rewards, terminations, truncations, infos = self._wait()
        results.rows.put_batch(self.lanes, observations)
        results.rewards[self.lanes] = rewards
        results.terminations[self.lanes] = terminations
        results.truncations[self.lanes] = truncations
        self._ended = np.logical_or(terminations, truncations)
        if self._mode is AutoresetMode.SAME_STEP and self._ended.any():
            self._end_episodes(infos, results)
        else:
            self._take_infos(infos, results)

    def _end_episodes(self, infos: Any, results: Results) -> None:
        """Put the last of what ended among the infos, and send a Reset."""
        ended = self._ended
        for index in np.flatnonzero(ended):
            lane = self.lanes.start + int(index)
            final_info = info_of(infos, int(index))
            final = {"final_obs": results.rows.row(lane), "final_info": final_info}
            results.infos.append((lane, final))
        self._take_infos(infos, results, ~ended)
        self.send_reset(None, None, ended)

    def receive_first(self, results: Results) -> None:
        """Wait for first observations after the episodes that ended in this step."""
        if self._patience is not None:
            self.receive_reset(results)

    # ----------------------------------------------------------------------- reset

    def _reset_send(self, seed: Any, options: Any, mask: Any) -> Deadline:
        if mask is None or self._fresh or mask.all():
            mask = None  # a game that has just come has nothing to be kept
        every = np.ones(self.count, dtype=np.bool_)
        self._resetting = every if mask is None else mask.copy()
        seeds = seeds_for(seed, self.count)
        return self.link.reset_send(seeds, options, mask)

    def _take_reset(self, observation: Any, info: Any, results: Results) -> None:
        self._ended = self._ended & ~self._resetting
        results.rows.put_batch(self.lanes, observation)
        self._take_infos(info, results, self._resetting)

    def _take_infos(self, infos: Any, results: Results, mask: Any = None) -> None:
        for index in range(self.count):
            info = info_of(infos, index)
            if info and (mask is None or mask[index]):
                results.infos.append((self.lanes.start + index, info))


def info_of(infos: Any, index: int) -> dict[str, Any]:
    """Return the info of one lane: a game reports a list of them, or nothing."""
    if isinstance(infos, (list, tuple)) and index < len(infos):
        return infos[index] or {}
    return {}
