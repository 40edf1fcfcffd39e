"""What users and authors of clients test with."""

from rlay.testing.chaos import Blackhole, ChaosProxy, Direction

__all__ = ["Blackhole", "ChaosProxy", "Direction"]
