"""Infos of some lanes put among those of all lanes, in Gymnasium's form.

That form has an array of one item per lane for each key, and a mask ``_key`` of the
lanes that have it. Gymnasium itself adds the infos of single environments; a batch
brings such arrays of its own, which are widened here.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from rlay.errors import EnvLost

VectorInfos = dict[str, Any]
LaneInfo = tuple[int | slice, dict[str, Any]]
"""Of one lane, or of a range of lanes in a vector environment's own form."""


def listed_infos(infos: list[dict[str, Any]], first: int = 0) -> list[LaneInfo]:
    """Return what a batch says of its lanes, of which ``first`` is the first."""
    return [(first + lane, info) for lane, info in enumerate(infos) if info]


class InfoForm:
    """Gymnasium's own way of adding the info of one lane."""

    _add_info = VectorEnv._add_info

    def __init__(self, num_envs: int) -> None:
        """Have so many lanes."""
        self.num_envs = num_envs

    def joined(self, infos: Iterable[LaneInfo]) -> VectorInfos:
        """Return the infos of all lanes.

        Args:
            infos: Several of one lane stand in the order in which they are to be added.
        """
        joined: VectorInfos = {}
        for lanes, info in sorted(infos, key=_first_lane):
            if isinstance(lanes, slice):
                joined = add_batch(joined, info, lanes, self.num_envs)
            else:
                joined = self._add_info(joined, info, lanes)  # type: ignore[misc]
        return joined


def _first_lane(info: LaneInfo) -> int:
    lanes = info[0]
    return lanes.start if isinstance(lanes, slice) else lanes


def add_batch(
    infos: VectorInfos, batch: VectorInfos, lanes: slice, num_envs: int
) -> VectorInfos:
    """Return ``infos`` with those of a batch of lanes.

    What a vector environment of its own making says without a mask, or not as one item
    for each lane, is said for each of its lanes.

    Args:
        infos: Of ``num_envs`` lanes; they are changed.
        batch: Of the lanes in ``lanes``.
        lanes: Where the batch stands; without a step.
        num_envs: Lanes in all.
    """
    count = lanes.stop - lanes.start
    for key, value in batch.items():
        if _is_mask(key, batch):
            continue
        mask = batch.get(f"_{key}")
        if not _is_flags(mask, count):
            mask = np.ones(count, dtype=np.bool_)
        if isinstance(value, dict):
            infos[key] = add_batch(infos.get(key, {}), value, lanes, num_envs)
        else:
            infos[key] = _with_rows(
                infos.get(key), _per_lane(value, count), lanes, mask, num_envs
            )
        all_masks = infos.get(f"_{key}", np.zeros(num_envs, dtype=np.bool_))
        all_masks[lanes] |= mask
        infos[f"_{key}"] = all_masks
    return infos


def _is_mask(key: str, infos: VectorInfos) -> bool:
    return key.startswith("_") and key[1:] in infos and f"_{key}" not in infos


def _is_flags(mask: Any, count: int) -> bool:
    return (
        isinstance(mask, np.ndarray)
        and mask.dtype == np.bool_
        and mask.shape == (count,)
    )


def _per_lane(value: Any, count: int) -> Any:
    """Return an array of one item for each lane."""
    if isinstance(value, np.ndarray) and value.shape[:1] == (count,):
        return value
    items = np.empty(count, dtype=object)
    for index in range(count):
        items[index] = value
    return items


def _with_rows(
    array: Any, rows: np.ndarray[Any, Any], lanes: slice, mask: Any, num_envs: int
) -> Any:
    if array is None:
        shape = (num_envs, *rows.shape[1:])
        empty = None if rows.dtype == object else 0
        array = np.full(shape, empty, dtype=rows.dtype)
    chosen = np.flatnonzero(mask)
    if len(chosen) == len(rows):
        array[lanes] = rows
    else:
        for index in chosen:
            array[lanes.start + index] = rows[index]
    return array


def add_lost(
    infos: VectorInfos, lost: dict[int, EnvLost], num_envs: int
) -> VectorInfos:
    """Return ``infos`` with ``rlay``: why lanes are lost, and what became of a step.

    ``executed`` is an array of objects: of False and None it must not make False.

    Args:
        infos: Of ``num_envs`` lanes; they are changed.
        lost: By the lane.
        num_envs: Lanes in all.
    """
    lanes = list(lost)
    mask = np.zeros(num_envs, dtype=np.bool_)
    mask[lanes] = True
    said = infos.setdefault("rlay", {})
    for key, values in (
        ("lost", [str(error) for error in lost.values()]),
        ("executed", [error.executed for error in lost.values()]),
    ):
        array = np.full(num_envs, None, dtype=object)
        for lane, value in zip(lanes, values, strict=True):
            array[lane] = value
        said[key], said[f"_{key}"] = array, mask.copy()
    infos["_rlay"] = infos.get("_rlay", np.zeros(num_envs, dtype=np.bool_)) | mask
    return infos
