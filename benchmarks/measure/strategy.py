"""The ways of waiting that RLay is measured with."""

from __future__ import annotations

import os

DEFAULT = "default"
FUTEX = "futex only"
FIXED = "fixed spin 50 us"

_FIXED_SPIN_NS = 50_000


def apply(waiting: str) -> None:
    """Choose how this process waits; call it before anything of RLay is opened."""
    if waiting == FUTEX:
        os.environ["RLAY_SPIN_US"] = "0"
    elif waiting == FIXED:
        _never_yield()
    elif waiting != DEFAULT:
        raise ValueError(f"unknown way of waiting: {waiting!r}")


def _never_yield() -> None:
    # RLay offers this to nobody: it is here as the yardstick only.
    from rlay.transport.spinning import WaitPolicy

    policy = WaitPolicy(_FIXED_SPIN_NS, yields=False)
    WaitPolicy.default = classmethod(lambda cls: policy)  # type: ignore[assignment, method-assign]
