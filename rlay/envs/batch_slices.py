"""The actions of some lanes out of a batch of all."""

from typing import Any

from gymnasium import spaces


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
