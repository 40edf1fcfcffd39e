"""What a reset of a vector is given, checked as Gymnasium's vectors check it."""

from typing import Any, Final

import numpy as np

UNKNOWN_LANES: Final = (
    "reset_mask names some of the environments, and the others have no known state"
)


def seeds_for(seed: Any, num_envs: int) -> list[Any]:
    """Return a seed for each lane.

    Args:
        seed: None, one for all (then seed, seed + 1, ...), or one for each.
        num_envs: Lanes.

    Raises:
        ValueError: There are seeds for another number of lanes.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + lane for lane in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"{len(seed)} seeds were given for {num_envs} environments")
    return list(seed)


def part_of_seed(seed: Any, lanes: slice) -> Any:
    """Return the seed of a range of lanes, in the form in which it was given.

    A batch takes it as it is: of a single number each of its lanes counts on.

    Args:
        seed: As for :func:`seeds_for`, which has checked it.
        lanes: Which; without a step.
    """
    if seed is None:
        return None
    if isinstance(seed, (int, np.integer)):
        return int(seed) + lanes.start
    return list(seed)[lanes]


def split_options(
    options: dict[str, Any] | None, num_envs: int
) -> tuple[dict[str, Any] | None, Any]:
    """Return the options for the environments, and the mask of ``reset_mask``.

    Args:
        options: As they were given; they are not changed.
        num_envs: Lanes.

    Returns:
        options: Without the mask.
        mask: bool of shape (num_envs,), or None for all lanes.

    Raises:
        TypeError: The mask is no array of bool.
        ValueError: It is of another shape, or names no lane.
    """
    if options is None or "reset_mask" not in options:
        return options, None
    rest = {key: value for key, value in options.items() if key != "reset_mask"}
    mask = options["reset_mask"]
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"reset_mask is {kind}, it must be an array of bool")
    if mask.shape != (num_envs,):
        raise ValueError(
            f"reset_mask is of shape {mask.shape}, it must be ({num_envs},)"
        )
    if not mask.any():
        raise ValueError("reset_mask names no environment")
    return rest, mask
