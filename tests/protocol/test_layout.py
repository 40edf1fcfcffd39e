"""The fixed area: which leaf lies where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlay.errors import DecodeError, MessageTooLarge
from rlay.protocol import spaces
from rlay.protocol.layout import (
    DECISION_EXTRA,
    NUMBER_CELL,
    REPORT_EXTRA,
    Layout,
    Leaf,
    compile_layout,
)
from rlay.protocol.values import decode_value, encode_value
from tests.protocol.rigs import TEXT, box, discrete
from tests.protocol.strategies import descriptions, leaves

NESTED = spaces.Dict(
    (
        ("image", box((10, 7), np.uint8)),
        ("words", TEXT),
        ("pose", spaces.Tuple((box((3,)), discrete()))),
        ("keys", spaces.MultiBinary((5,), flat=True)),
    ),
    sort_keys=False,
)


def test_golden_layout_of_one_environment():
    """Leaves lie in order, small ones at 8 and others at 64 bytes; text has none."""
    assert compile_layout(NESTED) == Layout(
        (
            Leaf("$.image", 3, (10, 7), 0),
            Leaf("$.pose[0]", 11, (3,), 72),
            Leaf("$.pose[1]", NUMBER_CELL, (), 88),
            Leaf("$.keys", 2, (5,), 104),
        ),
        112,
        variable=True,
    )


def test_golden_layout_of_a_batch():
    """A batch has the number of environments in front, and its own arrays behind."""
    assert compile_layout(NESTED, 3, REPORT_EXTRA, batched=True) == Layout(
        (
            Leaf("$.image", 3, (3, 10, 7), 0),
            Leaf("$.pose[0]", 11, (3, 3), 216),
            Leaf("$.pose[1]", 8, (3,), 256),
            Leaf("$.keys", 2, (3, 5), 280),
            Leaf("$reward", 12, (3,), 296),
            Leaf("$terminated", 1, (3,), 320),
            Leaf("$truncated", 1, (3,), 328),
            Leaf("$status", 3, (3,), 336),
        ),
        344,
        variable=True,
    )


def test_golden_layout_of_a_batch_of_decisions():
    """Actions of a batch have who is to be reset behind them."""
    assert compile_layout(discrete(), 100, DECISION_EXTRA, batched=True) == Layout(
        (Leaf("$", 8, (100,), 0), Leaf("$reset_mask", 1, (100,), 832)),
        936,
        variable=False,
    )


def test_batch_of_one_is_a_batch():
    """A batch is announced, not inferred from the number."""
    batch = compile_layout(discrete(), 1, DECISION_EXTRA, batched=True)
    assert [leaf.shape for leaf in batch.leaves] == [(1,), (1,)]


@pytest.mark.parametrize(
    ("leaf", "size"),
    [
        (Leaf("$", NUMBER_CELL, (), 0), 16),
        (Leaf("$", 11, (), 0), 4),
        (Leaf("$", 11, (2, 3), 0), 24),
        (Leaf("$", 14, (0, 3), 0), 0),
    ],
)
def test_leaf_size(leaf, size):
    """A number takes a cell, an array its elements."""
    assert leaf.size_bytes == size


@given(descriptions(), st.integers(1, 3), st.booleans())
def test_leaves_are_aligned_and_apart(space, num_envs, batched):
    """No leaf reaches into the next; large ones begin a cache line."""
    extra = REPORT_EXTRA if batched else ()
    layout = compile_layout(space, num_envs, extra, batched=batched)
    end = 0
    for leaf in layout.leaves:
        assert leaf.offset >= end
        assert leaf.offset % (64 if leaf.size_bytes >= 64 else 8) == 0
        end = leaf.offset + leaf.size_bytes
    assert layout.fixed_bytes == -(-end // 8) * 8


@given(descriptions())
def test_table_comes_back_and_agrees(space):
    """The table of one end, sent to the other, is that of the other."""
    layout = compile_layout(space)
    layout.check(decode_value(encode_value(layout.pack())), "report")


@pytest.mark.parametrize(
    "space", [TEXT, spaces.Opaque("a", "b"), spaces.OneOf(()), spaces.Tuple((TEXT,))]
)
def test_space_without_fixed_size_has_no_leaves(space):
    """What has no fixed size travels behind the fixed area, which is empty."""
    assert compile_layout(space) == Layout((), 0, variable=True)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Sequence(box(), stack=False),
        spaces.Graph(box(), None),
        spaces.Dict((("a", TEXT), ("b", box())), sort_keys=True),
        spaces.Tuple((box(), TEXT, box())),
    ],
)
def test_every_variable_part_is_seen(space):
    """A variable part makes the layout variable, and hides no leaf behind it."""
    layout = compile_layout(space)
    assert layout.variable
    assert len(layout.leaves) == len(getattr(space, "items", ())[::2]) + (
        1 if isinstance(space, spaces.Dict) else 0
    )


def test_area_beyond_a_gibibyte_is_too_large():
    """The limit is checked before anything is made of that size."""
    space = spaces.MultiBinary((2**20,), flat=True)
    assert compile_layout(space, 1024, batched=True).fixed_bytes == 2**30
    with pytest.raises(MessageTooLarge) as caught:
        compile_layout(space, 1025, batched=True)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (
        2**30 + 2**20,
        2**30,
    )


OURS = compile_layout(spaces.Tuple((box(), discrete())))


@pytest.mark.parametrize(
    ("theirs", "text"),
    [
        ([24, [["$[0]", 11, [2], 0], ["$[1]", 0, [], 16]]], "Leaf.*offset=8"),
        ([24, [["$[0]", 12, [2], 0], ["$[1]", 0, [], 8]]], "dtype=11.*dtype=12"),
        ([24, [["$[0]", 11, [3], 0], ["$[1]", 0, [], 8]]], r"shape=\(2,\).*\(3,\)"),
        ([24, [["$.a", 11, [2], 0], ["$[1]", 0, [], 8]]], r"at \$\[0\]"),
        ([24, [["$[0]", 11, [2], 0]]], "ours has 2 leaves in 24 bytes, theirs 1 in 24"),
        (
            [24, [*OURS.pack()[1], ["$[2]", 0, [], 24]]],
            "ours has 2 leaves in 24 bytes, theirs 3 in 24",
        ),
        ([32, OURS.pack()[1]], "theirs 2 in 32"),
        (None, "malformed"),
        (1, "malformed"),
        ([], "malformed"),
        ([24, None], "malformed"),
        ([24, [1]], "malformed"),
        ([24, [["$", 11, [2]]]], "malformed"),
        ([24, [["$", 11, 2, 0]]], "malformed"),
        ([24.0, OURS.pack()[1]], "malformed"),
        ([24, [["$[0]", True, [2], 0]]], "malformed"),
        ([24, [["$[0]", 11, [2.0], 0]]], "malformed"),
        ([24, [["$[0]", 11, [2], None]]], "malformed"),
        ([24, [[1, 11, [2], 0]]], "malformed"),
        (np.zeros(2), "malformed"),
        ([24, np.zeros((2, 4))], "malformed"),
        ([24, [["$[0]", 11, np.array([2, 2]), 0]]], "malformed"),
        ([np.int64(24), OURS.pack()[1]], "malformed"),
        ("ab", "malformed"),
    ],
)
def test_other_table_is_a_decode_error(theirs, text):
    """A table that differs, or is none, is refused; the first difference is named."""
    with pytest.raises(DecodeError, match=text):
        OURS.check(theirs, "report")


@given(leaves())
def test_a_space_of_one_leaf_has_at_most_one(space):
    """Only what has a fixed size has a leaf."""
    layout = compile_layout(space)
    assert len(layout.leaves) == (0 if layout.variable else 1)
