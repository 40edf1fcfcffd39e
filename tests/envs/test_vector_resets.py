"""Seeds and masks of a vector's reset."""

import numpy as np
import pytest

from rlay.envs.vector_resets import seeds_for, split_options


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (None, [None] * 3),
        (5, [5, 6, 7]),
        (np.int64(2**62), [2**62, 2**62 + 1, 2**62 + 2]),
        ([1, None, 3], [1, None, 3]),
    ],
)
def test_each_lane_has_a_seed(seed, expected):
    """One for all counts up; None stays None."""
    assert seeds_for(seed, 3) == expected


def test_seeds_for_another_number_of_lanes_refused():
    """The message has both numbers."""
    with pytest.raises(ValueError, match="2 seeds were given for 3"):
        seeds_for([1, 2], 3)


def test_mask_is_taken_out_of_the_options_and_they_stay_as_they_are():
    """The caller's own dict is not changed."""
    mask = np.array([True, False])
    options = {"level": 3, "reset_mask": mask}
    rest, found = split_options(options, 2)
    assert rest == {"level": 3}
    assert found is mask
    assert "reset_mask" in options
    assert split_options(None, 2) == (None, None)
    assert split_options({"level": 3}, 2) == ({"level": 3}, None)
