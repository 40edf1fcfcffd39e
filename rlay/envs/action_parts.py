"""The actions of a vector shared out to its channels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate

_ARRAYS = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def slice_batch(space: spaces.Space[Any], batch: Any, lanes: slice) -> Any:
    """Return the part of a batch that belongs to some lanes.

    Args:
        space: Of one element.
        batch: Of the elements of all lanes, as ``batch_space`` makes it of ``space``;
            any other values travel as they are.
        lanes: Which; without a step.
    """
    match space:
        case spaces.Dict():
            return {
                key: slice_batch(inner, batch[key], lanes)
                for key, inner in space.spaces.items()
            }
        case spaces.Tuple():
            return tuple(
                slice_batch(inner, part, lanes)
                for inner, part in zip(space.spaces, batch, strict=True)
            )
        case _:
            return batch[lanes]


class ActionParts:
    """What each channel of a vector gets of its actions."""

    def __init__(
        self, space: spaces.Space[Any], num_envs: int, lanes: Sequence[int | slice]
    ) -> None:
        """Know the channels.

        Args:
            space: Of one action.
            num_envs: Lanes in all.
            lanes: Of each channel: a lane, or a range of lanes that are a batch.
        """
        self._space = space
        self._batched = batch_space(space, num_envs)
        self._num_envs = num_envs
        self._lanes = list(lanes)
        self._arrays = isinstance(space, _ARRAYS)

    def of(self, actions: Any) -> list[Any]:
        """Return the part of each channel.

        Raises:
            ValueError: There are too few actions or too many.
        """
        if self._arrays and type(actions) is np.ndarray:
            self._check(len(actions))
            return [actions[lanes] for lanes in self._lanes]
        items = self._items(actions)
        return [
            slice_batch(self._space, actions, lanes)
            if isinstance(lanes, slice)
            else items[lanes]
            for lanes in self._lanes
        ]

    def _items(self, actions: Any) -> list[Any]:
        """Return the action of each lane, as Gymnasium takes a batch apart."""
        try:
            items = list(iterate(self._batched, actions))
        except ValueError as error:  # its parts are of several lengths
            raise ValueError(
                f"the actions cannot be shared out to {self._num_envs} environments: "
                f"{error}"
            ) from error
        self._check(len(items))
        return items

    def _check(self, count: int) -> None:
        if count != self._num_envs:
            raise ValueError(
                f"{count} actions were given for {self._num_envs} environments"
            )
