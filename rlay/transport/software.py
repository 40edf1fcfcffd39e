"""What this software calls itself in a greeting."""

from importlib.metadata import PackageNotFoundError, version
from typing import Final

try:
    VERSION: Final = version("rlay")
except PackageNotFoundError:  # run from a checkout that is not installed
    VERSION = "0+unknown"  # type: ignore[misc]

SOFTWARE: Final = f"rlay-python {VERSION}"
"""What an end calls itself in the greeting, for people."""
