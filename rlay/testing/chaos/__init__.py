"""A TCP proxy whose network can be made bad, and good again."""

from rlay.testing.chaos.conditions import Blackhole, Direction
from rlay.testing.chaos.proxy import ChaosProxy

__all__ = ["Blackhole", "ChaosProxy", "Direction"]
