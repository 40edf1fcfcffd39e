"""The two kinds of lanes at a backend: a single environment, and a batch of them.

A batch is reset by its backend when episodes end; of a single environment that is seen
to here, so that both look the same to the vector::

    NEXT_STEP   the step after an end sends Reset, and its action is not used
    SAME_STEP   the step that ends an episode sends Reset too, before it returns
    DISABLED    nothing is reset unless the algorithm says so
"""

import copy
from typing import Any

from gymnasium.vector import AutoresetMode

from rlay.envs.channel_lanes import Act, ChannelLanes, Results
from rlay.envs.lane_sources import Arrival
from rlay.envs.vector_infos import listed_infos
from rlay.errors import SpaceMismatch
from rlay.protocol.greeting import EnvironmentFacts
from rlay.transport.peers import Deadline


class SingleLane(ChannelLanes):
    """A channel with one environment."""

    def __init__(self, lanes: slice, arrival: Arrival, mode: AutoresetMode) -> None:
        """Begin without a session, and without an episode that has ended."""
        super().__init__(lanes, arrival, mode)
        self._index: int = lanes.start
        self._ended = False
        self._resets_next = mode is AutoresetMode.NEXT_STEP

    def check_kind(self, facts: EnvironmentFacts) -> None:
        """Refuse a batch of one: its messages have rows."""
        if facts.vector:
            raise SpaceMismatch(f"{self}: a single environment is wanted, not a vector")

    def _next_act(self) -> Act:
        if self._fresh or self._untold or self._attachment is None:
            return super()._next_act()
        return Act.RESET if self._ended and self._resets_next else Act.STEP

    def _receive_step(self, results: Results) -> None:
        observation, reward, terminated, truncated, info = self._wait()
        index = self._index
        results.rewards[index] = reward
        results.terminations[index] = terminated
        results.truncations[index] = truncated
        if terminated or truncated:
            self._ended = True
            if self._mode is AutoresetMode.SAME_STEP:
                # It lies in the slot, which the next message but one overwrites.
                final = copy.deepcopy(observation)
                results.infos.append((index, {"final_obs": final, "final_info": info}))
                self.send_reset()
                return
        results.rows.put(index, observation)
        if info:
            results.infos.append((index, info))

    def receive_first(self, results: Results) -> None:
        """Wait for the first observation after an episode that ended in this step."""
        if self._patience is not None:
            self.receive_reset(results)

    def _reset_send(self, seed: Any, options: Any, mask: Any) -> Deadline:
        own = seed[0] if isinstance(seed, list) else seed
        return self.link.reset_send(own, options)

    def _take_reset(self, observation: Any, info: Any, results: Results) -> None:
        self._ended = False
        results.rows.put(self._index, observation)
        if info:
            results.infos.append((self._index, info))

    def results_of(self, value: Any) -> tuple[Any, ...]:
        """Return the one result."""
        return (value,)

    def share_of(self, values: Any) -> tuple[Any, ...]:
        """Return the lane's value."""
        return (values[self._index],)


class LaneBatch(ChannelLanes):
    """A channel with several environments, which its backend steps and resets."""

    def check_kind(self, facts: EnvironmentFacts) -> None:
        """Refuse a single environment, and one of another mode."""
        theirs = AutoresetMode(facts.autoreset_mode or AutoresetMode.NEXT_STEP)
        if not facts.vector:
            raise SpaceMismatch(f"{self}: a vector is wanted, not one environment")
        if theirs is not self._mode:
            raise SpaceMismatch(
                f"{self}: the autoreset mode is {theirs.value}, {self._mode.value} is "
                "wanted"
            )

    def _receive_step(self, results: Results) -> None:
        observations, rewards, terminations, truncations, infos = self._wait()
        results.rows.put_batch(self.lanes, observations)
        results.rewards[self.lanes] = rewards
        results.terminations[self.lanes] = terminations
        results.truncations[self.lanes] = truncations
        if infos:
            self._take_infos(infos, results)

    def _reset_send(self, seed: Any, options: Any, mask: Any) -> Deadline:
        if mask is not None and not mask.all():
            options = {**(options or {}), "reset_mask": mask}
        return self.link.reset_send(seed, options)

    def _take_reset(self, observation: Any, info: Any, results: Results) -> None:
        results.rows.put_batch(self.lanes, observation)
        if info:
            self._take_infos(info, results)

    def _take_infos(self, infos: Any, results: Results) -> None:
        """Take a list of one info per lane, or a vector environment's own form."""
        if type(infos) is list:
            results.infos += listed_infos(infos, self.lanes.start)
        else:
            results.infos.append((self.lanes, infos))

    def results_of(self, value: Any) -> tuple[Any, ...]:
        """Return the result of each lane."""
        return (None,) * self.count if value is None else tuple(value)

    def share_of(self, values: Any) -> tuple[Any, ...]:
        """Return the lanes' values."""
        return (list(values[self.lanes]),)
