"""What the two ends agreed upon: layouts and room."""

import numpy as np
import pytest

from rlay.errors import MessageTooLarge
from rlay.protocol import spaces
from rlay.protocol.agreement import Agreement
from tests.protocol.rigs import box, discrete


def test_agreement_of_one_environment():
    """One environment has no arrays behind its leaves."""
    agreement = Agreement.compile(box((4,)), discrete(), 1, batched=False)
    assert [leaf.path for leaf in agreement.report_layout.leaves] == ["$"]
    assert [leaf.path for leaf in agreement.decision_layout.leaves] == ["$"]
    assert (agreement.num_envs, agreement.batched) == (1, False)


def test_agreement_of_a_batch():
    """A batch has rewards, flags and status, and a reset mask."""
    agreement = Agreement.compile(box((4,)), discrete(), 2, batched=True)
    assert [leaf.path for leaf in agreement.report_layout.leaves] == [
        "$",
        "$reward",
        "$terminated",
        "$truncated",
        "$status",
    ]
    assert [leaf.path for leaf in agreement.decision_layout.leaves] == [
        "$",
        "$reset_mask",
    ]


def test_capacities_have_room_behind_the_fixed_area():
    """A slot holds the fixed area and 64 KiB, rounded up to 64 bytes."""
    agreement = Agreement.compile(box((5,)), discrete(), 1, batched=False)
    assert agreement.report_capacity == 65536 + 64
    assert agreement.decision_capacity == 65536 + 64


def test_space_beyond_a_gibibyte_is_too_large():
    """Nothing is compiled from a space whose elements fit no slot."""
    huge = spaces.MultiBinary((2**30 + 1,), flat=True)
    with pytest.raises(MessageTooLarge):
        Agreement.compile(huge, discrete(), 1, batched=False)
    with pytest.raises(MessageTooLarge):
        Agreement.compile(box((4,), np.uint8), huge, 1, batched=False)
