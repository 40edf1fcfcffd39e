"""The ways of waiting that RLay is measured with."""

from __future__ import annotations

import os

DEFAULT = "default"
FUTEX = "futex only"
FIXED = "fixed spin 50 us"


def apply(waiting: str) -> None:
    """Choose how this process waits; call it before anything of RLay is opened."""
    if waiting == FUTEX:
        os.environ["RLAY_SPIN_US"] = "0"
    elif waiting != DEFAULT:
        raise ValueError(f"unknown way of waiting: {waiting!r}")
