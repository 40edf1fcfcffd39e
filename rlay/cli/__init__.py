"""The command line: ``rlay``, or ``python -m rlay``."""

from rlay.cli.application import main

__all__ = ["main"]
