"""Batches of observations filled row by row, beside Gymnasium's ``concatenate``."""

import copy
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from hypothesis import given

from rlay.envs.action_parts import slice_batch
from rlay.envs.rows import make_rows
from rlay.testing.strategies import spaces_of_any_kind
from tests.support.equality import assert_identical

pytestmark = pytest.mark.filterwarnings("ignore")

COUNT = 5
NESTED = spaces.Dict(
    {
        "picture": spaces.Box(0, 255, (2, 3), np.uint8),
        "word": spaces.Text(5),
        "pair": spaces.Tuple((spaces.Discrete(4, start=2), spaces.MultiBinary(3))),
    }
)


def batch_of(space, items):
    """Return Gymnasium's batch."""
    empty: Any = create_empty_array(space, n=len(items), fn=np.zeros)
    return concatenate(space, items, empty)


def samples(space, count=COUNT):
    """Return seeded samples; the space's own generator stays as it is."""
    space = copy.deepcopy(space)
    space.seed(3)
    return [space.sample() for _ in range(count)]


@given(space=spaces_of_any_kind())
def test_rows_put_one_by_one_are_gymnasiums_batch(space):
    """For spaces of every kind, with types and the order of keys."""
    items = samples(space)
    rows = make_rows(space, COUNT)
    for index, item in enumerate(items):
        rows.put(index, item)
    assert_identical(rows.snapshot(), batch_of(space, items))
    assert_identical(rows.view(), rows.snapshot())


@given(space=spaces_of_any_kind())
def test_batches_among_rows_are_gymnasiums_batch(space):
    """A batch of some lanes may stand anywhere among single ones."""
    items = samples(space)
    rows = make_rows(space, COUNT)
    rows.put(0, items[0])
    rows.put_batch(slice(1, 4), batch_of(space, items[1:4]))
    rows.put(4, items[4])
    assert_identical(rows.snapshot(), batch_of(space, items))


def test_rows_that_nothing_is_put_into_stay():
    """A lane that is left out keeps its last observation."""
    items = samples(NESTED, COUNT + 1)
    rows = make_rows(NESTED, COUNT)
    for index in range(COUNT):
        rows.put(index, items[index])
    rows.put(2, items[5])
    items[2] = items[5]
    assert_identical(rows.snapshot(), batch_of(NESTED, items[:COUNT]))


def test_row_is_an_element_and_a_copy():
    """What is asked for alone is no view of the batch."""
    items = samples(NESTED)
    rows = make_rows(NESTED, COUNT)
    rows.put_batch(slice(0, COUNT), batch_of(NESTED, items))
    row = rows.row(3)
    assert NESTED.contains(row)
    assert_identical(row["picture"], items[3]["picture"])
    rows.put(3, items[0])
    assert_identical(row["picture"], items[3]["picture"])


def test_snapshot_is_a_copy_and_view_is_not():
    """The next put shows in a view only."""
    space = spaces.Box(-1, 1, (2,), np.float32)
    rows = make_rows(space, 2)
    snapshot, view = rows.snapshot(), rows.view()
    rows.put(1, np.ones(2, np.float32))
    assert snapshot.tolist() == [[0, 0], [0, 0]]
    assert view.tolist() == [[0, 0], [1, 1]]


@given(space=spaces_of_any_kind())
def test_slice_of_a_batch_is_the_batch_of_its_elements(space):
    """Actions for a channel in the middle."""
    items = samples(space)
    whole = batch_of(space, items)
    if isinstance(whole, (dict, tuple)) and not whole:
        return  # an empty batch has no elements
    part = slice_batch(space, whole, slice(1, 4))
    assert_identical(part, batch_of(space, items[1:4]))
