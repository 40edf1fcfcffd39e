"""What a game is told."""

from __future__ import annotations

import dataclasses

import pytest

import rlay


def test_decisions_are_values_with_defaults():
    """They compare by their fields, match by position, and cannot be changed."""
    assert rlay.Action(3) == rlay.Action(action=3, reset_mask=None)
    assert rlay.Reset() == rlay.Reset(seed=None, options=None, mask=None)
    assert rlay.Close("lost") != rlay.Close("closed")
    with pytest.raises(dataclasses.FrozenInstanceError):
        rlay.Action(3).action = 4  # type: ignore[misc]
    match rlay.Reset(7, {"level": 1}):
        case rlay.Reset(seed, options):
            assert (seed, options) == (7, {"level": 1})
