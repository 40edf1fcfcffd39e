"""Infos of lanes and of batches, put together as Gymnasium's vectors do."""

import numpy as np
import pytest

from rlay.envs.vector_infos import InfoForm, add_batch, add_lost, listed_infos
from rlay.errors import EnvLost
from tests.support.equality import assert_identical

INFOS = [
    {"count": 1, "deep": {"text": "a", "flag": True}},
    {},
    {"count": 0.5, "array": np.arange(3.0)},
    {"deep": {"text": "b"}, "array": np.ones(3)},
]


def joined(infos):
    """Return Gymnasium's form of one info per lane."""
    return InfoForm(len(infos)).joined(listed_infos(infos))


def test_infos_of_lanes_have_gymnasiums_form():
    """An array of the first one's type, zeros where there is none, and a mask."""
    infos = joined(INFOS)
    assert list(infos) == ["count", "_count", "deep", "_deep", "array", "_array"]
    assert_identical(infos["count"], np.array([1, 0, 0, 0]))
    assert_identical(infos["_count"], np.array([True, False, True, False]))
    assert infos["deep"]["text"].tolist() == ["a", None, None, "b"]
    assert infos["array"].shape == (4, 3)


def test_infos_are_added_in_the_order_of_lanes():
    """Whoever came first: the type of an array is that of the first lane."""
    pairs = listed_infos(INFOS)
    assert_identical(InfoForm(4).joined(pairs[::-1]), InfoForm(4).joined(pairs))


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_batches_of_a_vectors_own_form_are_widened(cut):
    """The infos of two vectors side by side are those of one vector of both.

    Where types agree: what a vector made an integer of stays one.
    """
    infos = [{**info, "count": 1} if "count" in info else info for info in INFOS]
    batches = [infos[:cut], infos[cut:]]
    form = InfoForm(4)
    parts = [(slice(0, cut), joined(batches[0])), (slice(cut, 4), joined(batches[1]))]
    together = form.joined(parts)
    for key, value in joined(infos).items():
        if key != "deep":
            assert_identical(together[key], value, key)
    for key, value in joined(infos)["deep"].items():
        assert_identical(together["deep"][key], value, key)


def test_what_has_no_mask_is_said_of_every_lane_of_the_batch():
    """A vector environment of somebody's own may say anything."""
    own = {"score": np.array([1.5, 2.5]), "version": "1.2"}
    infos = add_batch({}, own, slice(1, 3), 4)
    assert_identical(infos["score"], np.array([0.0, 1.5, 2.5, 0.0]))
    assert infos["version"].tolist() == [None, "1.2", "1.2", None]
    mask = np.array([False, True, True, False])
    assert_identical(infos["_score"], mask)
    assert_identical(infos["_version"], mask)


def test_key_that_only_looks_like_a_mask_is_a_key():
    """``_hidden`` without ``hidden`` is an info of its own."""
    infos = add_batch({}, {"_hidden": np.array([7])}, slice(0, 1), 2)
    assert_identical(infos["_hidden"], np.array([7, 0]))


def test_what_became_of_a_step_is_never_more_certain_than_it_is():
    """False is certain, None is not: no array of bool makes one of the other."""
    lost = {0: EnvLost("bye", executed=False), 2: EnvLost("gone", executed=None)}
    infos = add_lost({"rlay": {"unsendable": 1}, "_rlay": np.zeros(3, bool)}, lost, 3)
    assert infos["rlay"]["executed"].tolist() == [False, None, None]
    assert infos["rlay"]["lost"].tolist() == ["bye", None, "gone"]
    assert infos["rlay"]["_executed"].tolist() == [True, False, True]
    assert infos["_rlay"].tolist() == [True, False, True]
    assert infos["rlay"]["unsendable"] == 1
