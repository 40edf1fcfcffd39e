"""Whether faults take as long as in the catalogue, or are shortened."""

import os

LONG = os.environ.get("RLAY_TEST_LONG_FAULTS", "") not in ("", "0")
"""``RLAY_TEST_LONG_FAULTS=1``: half an hour instead of some minutes."""
