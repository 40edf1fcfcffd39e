"""The bridge: channels of this machine on another one, over TCP.

The only package that knows asyncio. It forwards bodies and never looks into one, so it
needs neither NumPy nor Gymnasium. User code imports nothing from here: ``rlay bridge``
runs it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlay.bridge.settings import BridgeSettings

__all__ = ["run"]


def run(settings: "BridgeSettings") -> int:
    """Run a bridge until it is told to end; return the program's exit code.

    Args:
        settings: Where to listen, where to dial, what to share, who may come.
    """
    from rlay.bridge.program import run_program

    return run_program(settings)
