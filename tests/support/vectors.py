"""Lanes for vector environments, and seeded runs over a batch of them."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode

MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


class Lane(gymnasium.Env[Any, Any]):
    """Episodes of a few steps, of a length that the generator draws.

    Observations are a dict, infos have other keys from step to step, and every
    number tells how the lane came to where it is.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space = spaces.Dict(
            {
                "place": spaces.Box(-np.inf, np.inf, (2,), np.float32),
                "count": spaces.Discrete(1000),
                "pair": spaces.Tuple((spaces.MultiBinary(3), spaces.Discrete(5))),
            }
        )
        self.action_space = spaces.Discrete(7)
        self.render_mode = render_mode
        self.scale = 1.0
        self.resets = 0
        self._length = self._count = 0
        self._place = np.zeros(2, np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.resets += 1
        self._count = 0
        self._length = int(self.np_random.integers(2, 6))
        self._place = self.np_random.random(2).astype(np.float32)
        return self._observe(), {"resets": self.resets, "options": str(options)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._count += 1
        self._place = self._place + np.float32(action)
        over = self._count >= self._length
        info: dict[str, Any] = {"count": self._count, "place": self._place.copy()}
        if self._count % 2:
            info["odd"] = {"deep": float(self._place[0]), "text": f"at {self._count}"}
        reward = self.scale * (self._count + 0.25 * float(action))
        return self._observe(), reward, over and self._length % 2 == 0, over, info

    def render(self) -> Any:
        return np.full((2, 3, 3), self._count, np.uint8)

    def doubled(self, number: float) -> float:
        return 2 * number * self.scale

    def _observe(self) -> dict[str, Any]:
        return {
            "place": self._place,
            "count": self._count,
            "pair": (np.array([1, 0, self._count % 2], np.int8), self._count % 5),
        }


def drive(
    envs: Any, steps: int = 40, *, extra_reset_at: int | None = None
) -> list[tuple[str, Any]]:
    """Step a vector environment with seeded actions; return all that it returned.

    In DISABLED mode what has ended is reset by a mask, before the next step.

    Args:
        envs: The vector environment.
        steps: How many.
        extra_reset_at: The step before which lanes 0 and 2 are reset by a mask, with
            seeds, in mid-episode.
    """
    space = copy.deepcopy(envs.action_space)
    space.seed(11)
    disabled = envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    calls: list[tuple[str, Any]] = [("reset", copy.deepcopy(envs.reset(seed=5)))]
    for step in range(steps):
        if step == extra_reset_at:
            mask = np.array([lane in (0, 2) for lane in range(envs.num_envs)])
            seeds = [100 + lane if mask[lane] else None for lane in range(len(mask))]
            options = {"reset_mask": mask, "level": 3}
            calls.append(
                ("mask", copy.deepcopy(envs.reset(seed=seeds, options=options)))
            )
        transition = copy.deepcopy(envs.step(space.sample()))
        calls.append((f"step {step}", transition))
        over = np.logical_or(transition[2], transition[3])
        if disabled and over.any():
            options = {"reset_mask": over}
            calls.append(("reset ended", copy.deepcopy(envs.reset(options=options))))
    return calls
