"""The contenders that need no package beside RLay and Gymnasium."""

from __future__ import annotations

import sys
from typing import Any

from measure import learner
from measure.answering import answer
from measure.contenders import open_contender
from measure.opened import Opened
from measure.placement import placement


def _open(spec: dict[str, Any]) -> Opened:
    opened = open_contender(spec, placement(spec["placement"]))
    return learner.learning(opened) if spec["learns"] else opened


if __name__ == "__main__":
    sys.exit(answer(_open))
