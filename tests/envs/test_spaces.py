"""Spaces to descriptions and back, and what differs between two of them.

That every space arrives as it was is shown in ``test_spaces_exactness.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.envs.spaces import OpaqueSpace, build, describe, mismatch

BOX = spaces.Box(0, 1, (2,), np.float32)


class Sensor(spaces.Space[Any]):
    """A space of a class that only one end knows."""

    def __init__(self, function: Any = None) -> None:
        super().__init__()
        self.function = function

    def __repr__(self) -> str:
        return f"Sensor({self.function})"


def test_opaque_space_stands_for_a_class_that_is_not_known_here():
    """It admits everything, cannot be sampled, and says where the class is known."""
    space = build(describe(Sensor()))
    assert isinstance(space, OpaqueSpace)
    assert space.contains(object())
    assert not space.is_np_flattenable
    assert repr(space) == "OpaqueSpace(Sensor(None))"
    assert space.type_name.endswith("Sensor")
    with pytest.raises(NotImplementedError, match="Sensor"):
        space.sample()


def test_opaque_spaces_compare_by_what_they_stand_for():
    """Two of the same kind are equal, also after a second journey."""
    one, other = build(describe(Sensor())), build(describe(Sensor("x")))
    assert one == build(describe(one))
    assert one != other
    assert one != BOX
    assert mismatch(describe(Sensor()), describe(one), "spaces") is None


def test_opaque_space_forgets_addresses():
    """An address in a repr differs from process to process, and says nothing."""
    one, other = Sensor(lambda: 1), Sensor(lambda: 2)
    assert repr(one) != repr(other)
    assert mismatch(describe(one), describe(other), "spaces") is None
    assert " at 0x" not in repr(build(describe(one)))


def test_subclass_of_a_known_space_is_opaque():
    """A subclass may mean anything by its elements."""

    class Angle(spaces.Box):
        pass

    assert isinstance(build(describe(Angle(0, 1, (1,)))), OpaqueSpace)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (spaces.Dict({"a": spaces.Dict({2: BOX})}), r"2 is not, at \$\.a"),  # type: ignore[dict-item]
        (spaces.Sequence(spaces.Text(2, charset="\udfff")), r"at \$\[\*\]"),
        (spaces.Graph(spaces.Box(0, 1, (1,), np.longdouble), None), r"at \$\.nodes"),
    ],
    ids=["int key", "surrogate", "longdouble"],
)
def test_space_that_cannot_travel_is_named_with_its_path(space, said):
    """SpaceMismatch says which part it is and what may stand there."""
    with pytest.raises(rlay.SpaceMismatch, match=said):
        describe(space)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (spaces.Discrete(3), spaces.Discrete(4)),
        (spaces.Discrete(3), spaces.Discrete(3, start=1)),
        (BOX, spaces.Box(0, 2, (2,), np.float32)),
        (BOX, spaces.Box(0, 1, (2,), np.float64)),
        (BOX, spaces.Box(0, 1, (3,), np.float32)),
        (spaces.Text(3), spaces.Text(4)),
        (spaces.Text(3, charset="ab"), spaces.Text(3, charset="abc")),
        (spaces.Tuple((BOX,)), spaces.Tuple((BOX, BOX))),
        (spaces.Dict({"a": BOX}), spaces.Dict({"b": BOX})),
        (spaces.Sequence(BOX), spaces.Sequence(BOX, stack=True)),
        (spaces.MultiBinary(3), spaces.MultiBinary([3, 1])),
        (spaces.MultiDiscrete([2, 3]), spaces.MultiDiscrete([3, 2])),
        (spaces.Graph(BOX, None), spaces.Graph(BOX, spaces.Discrete(2))),
        (spaces.OneOf((BOX, spaces.Discrete(2))), spaces.OneOf((BOX,))),
    ],
)
def test_mismatch_names_both_spaces(ours, theirs):
    """Whatever differs, both are shown, and what to do; equal ones are no error."""
    error = mismatch(describe(ours), describe(theirs), "observation spaces")
    assert isinstance(error, rlay.SpaceMismatch)
    assert str(ours) in str(error)
    assert str(theirs) in str(error)
    assert mismatch(describe(ours), describe(ours), "spaces") is None
    assert mismatch(describe(theirs), describe(theirs), "spaces") is None
