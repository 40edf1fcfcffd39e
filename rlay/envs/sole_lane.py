"""A vector of one lane: its session is that of a single environment.

What ``Lanes`` does for many is done for one here, with nothing to share out and nobody
to wait for: of a quick environment that is a third of the time of a step.
"""

import copy
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from rlay.envs.action_parts import ActionParts
from rlay.envs.attachments import Attachment
from rlay.envs.lanes import Transition, refuse_ended
from rlay.envs.rows import make_rows
from rlay.envs.sole_session import SoleSession
from rlay.envs.spaces import build
from rlay.envs.vector_infos import LaneInfo
from rlay.envs.vector_resets import seeds_for, split_options
from rlay.protocol.decisions import Operation
from rlay.transport.peers import Deadline

_LANES = 1


class SoleLane(SoleSession):
    """One session with a single environment."""

    def __init__(
        self, attachment: Attachment, mode: AutoresetMode, *, copy: bool
    ) -> None:
        """Take over a session whose observations lie in its slots.

        Args:
            attachment: The session.
            mode: When an ended environment starts again.
            copy: Whether observations are copies.
        """
        super().__init__(attachment, mode)
        self._rows = make_rows(build(self.facts.observation_space), _LANES)
        self._observations = self._rows.snapshot if copy else self._rows.view
        self._parts = ActionParts(build(self.facts.action_space), _LANES, [0])
        self._step_link = attachment.link.compile_step()
        self._ended = False
        self._patience: Deadline | None = None

    # ------------------------------------------------------------------------ step

    def step(self, actions: Any) -> Transition:
        """Step the lane; see ``ClientVectorEnv.step``."""
        (action,) = self._parts.of(actions)
        if self._ended and self.mode is not AutoresetMode.SAME_STEP:
            self._check_ended()
            return self._begun_again(self._link.reset(None, None))
        return self._taken(self._step_link(action))

    def send(self, actions: Any) -> None:
        """Send a step, and wait for nothing."""
        (action,) = self._parts.of(actions)
        self._patience = None
        if self._ended and self.mode is not AutoresetMode.SAME_STEP:
            self._check_ended()
            self._patience = self._link.reset_send(None, None)
        else:
            self._link.step_send(action)

    def receive(self) -> Transition:
        """Wait for the transition of the step that was sent."""
        patience, self._patience = self._patience, None
        if patience is not None:
            return self._begun_again(self._link.reset_wait(patience))
        return self._taken(self._link.step_wait())

    def _check_ended(self) -> None:
        if self.mode is AutoresetMode.DISABLED:
            refuse_ended([0])

    def _taken(self, transition: Transition) -> Transition:
        """Return the vector's form of what a step led to."""
        observation, reward, terminated, truncated, info = transition
        rewards = np.zeros(_LANES, dtype=np.float64)
        terminations = np.zeros(_LANES, dtype=np.bool_)
        truncations = np.zeros(_LANES, dtype=np.bool_)
        rewards[0] = reward
        infos: list[LaneInfo] = [(0, info)] if info else []
        if terminated or truncated:
            terminations[0], truncations[0] = terminated, truncated
            self._ended = True
            if self.mode is AutoresetMode.SAME_STEP:
                # It lies in the slot, which the next message but one overwrites.
                final = copy.deepcopy(observation)
                observation, first = self._link.reset(None, None)
                self._ended = False
                infos = [(0, {"final_obs": final, "final_info": info}), (0, first)]
        self._rows.put(0, observation)
        return (
            self._observations(),
            rewards,
            terminations,
            truncations,
            self._info_form.joined(infos) if infos else {},
        )

    def _begun_again(self, first: tuple[Any, Any]) -> Transition:
        """Return the vector's form of a step that was a reset."""
        observation, info = first
        self._ended = False
        return self._taken((observation, 0.0, False, False, info))

    # ----------------------------------------------------------------------- reset

    def _reset(
        self, seed: Any, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        (own,) = seeds_for(seed, _LANES)
        options, _ = split_options(options, _LANES)
        first = self._link.reset(own, options)
        observations, *_, infos = self._begun_again(first)
        return observations, infos

    # ------------------------------------------------------------------------ call

    def call(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Ask the backend, and return what it says of its environment."""
        if operation is Operation.SET and isinstance(args[0], (list, tuple)):
            (values,) = args
            if len(values) != _LANES:
                raise ValueError(
                    f"{len(values)} values were given for {_LANES} environment"
                )
            args = tuple(values)
        return (super().call(operation, name, args, kwargs),)
