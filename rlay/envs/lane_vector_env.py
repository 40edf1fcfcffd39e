"""What a backend steps when it has several environments: Gymnasium's own, unburdened.

A backend writes what a step returns into a slot at once, so nothing needs to be copied
before; and of four CartPoles such copies and ``np.stack`` took a fifth of the time.
"""

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import concatenate, iterate

_ARRAYS = (spaces.Box, spaces.MultiDiscrete, spaces.MultiBinary)
_Infos = dict[int, dict[str, Any]]


class LaneVectorEnv(SyncVectorEnv):
    """A ``SyncVectorEnv`` that copies little, and leaves each info as it is.

    What ``step`` returns is overwritten by the next one.

    Gymnasium makes one array of all infos of a key, whose type is that of the first:
    of an int and a float it keeps the int of either. Which info is the first only the
    algorithm's end knows, where there are more environments than these. So the infos
    are a list here, with a dict for each environment.
    """

    def __init__(self, env_fns: Any, *, autoreset_mode: AutoresetMode) -> None:
        """Make the environments; arguments as of ``SyncVectorEnv``."""
        super().__init__(env_fns, copy=False, autoreset_mode=autoreset_mode)
        space = self.single_observation_space
        # Dtype and shape of an observation that is a row of an array; None: it is none.
        self._row = (space.dtype, space.shape) if isinstance(space, _ARRAYS) else None

    def reset(self, **kwargs: Any) -> Any:
        """Reset; the infos are a list with a dict for each environment."""
        observations, infos = super().reset(**kwargs)
        return observations, self._listed(infos)

    def step(self, actions: Any) -> Any:
        """Step; the infos are a list with a dict for each environment."""
        infos: _Infos = {}
        observations = self._env_obs
        asked = zip(iterate(self.action_space, actions), self.envs, strict=True)
        for lane, (action, env) in enumerate(asked):
            observations[lane], info = self._step_lane(lane, env, action, infos)
            if info:
                infos.setdefault(lane, {}).update(info)
        self._batch(observations)
        np.logical_or(self._terminations, self._truncations, out=self._autoreset_envs)
        return (
            self._observations,
            self._rewards,
            self._terminations,
            self._truncations,
            self._listed(infos),
        )

    def _step_lane(self, lane: int, env: Any, action: Any, infos: _Infos) -> Any:
        """Step or reset one environment; return its observation and its info."""
        mode = self.autoreset_mode
        if mode is not AutoresetMode.SAME_STEP and self._autoreset_envs[lane]:
            if mode is AutoresetMode.DISABLED:
                raise AssertionError(
                    f"environment {lane} has ended: reset it (autoreset_mode is "
                    "DISABLED)"
                )
            self._rewards[lane] = 0.0
            self._terminations[lane] = self._truncations[lane] = False
            return env.reset()
        observation, reward, terminated, truncated, info = env.step(action)
        self._rewards[lane] = reward
        self._terminations[lane] = terminated
        self._truncations[lane] = truncated
        if mode is AutoresetMode.SAME_STEP and (terminated or truncated):
            # Their arrays may be the simulator's own: the reset that follows writes
            # into them.
            final_obs, final_info = copy.deepcopy((observation, info))
            infos[lane] = {"final_obs": final_obs, "final_info": final_info}
            return env.reset()
        return observation, info

    def _batch(self, observations: Any) -> None:
        """Put the observations into the arrays of all, as ``np.stack`` would."""
        if self._row is not None:
            dtype, shape = self._row
            rows: Any = self._observations
            for lane, observation in enumerate(observations):
                if (
                    type(observation) is not np.ndarray
                    or observation.dtype != dtype
                    or observation.shape != shape
                ):
                    break  # it is for Gymnasium to cast or to refuse
                rows[lane] = observation
            else:
                return
        self._observations = concatenate(
            self.single_observation_space, observations, self._observations
        )

    def _add_info(
        self, vector_infos: dict[Any, Any], env_info: dict[str, Any], env_num: int
    ) -> dict[Any, Any]:
        """Collect the infos of each environment; Gymnasium's ``reset`` calls this."""
        if env_info:
            vector_infos[env_num] = env_info
        return vector_infos

    def _listed(self, infos: dict[Any, Any]) -> Any:
        """Return a list, or the empty dict where no environment has said anything."""
        return infos and [infos.get(lane, {}) for lane in range(self.num_envs)]
