"""Kinds and flags as plain numbers.

Members of an enumeration are found and combined slowly; a step needs these.
"""

from typing import Final

from rlay.protocol.constants import Flag, Kind

FIXED: Final = int(Flag.FIXED)
TAIL: Final = int(Flag.TAIL)
RECORD: Final = int(Flag.RECORD)
TERMINATED: Final = int(Flag.TERMINATED)
TRUNCATED: Final = int(Flag.TRUNCATED)
NUMPY_TERMINATED: Final = int(Flag.NUMPY_TERMINATED)
NUMPY_TRUNCATED: Final = int(Flag.NUMPY_TRUNCATED)

STEP: Final = int(Kind.STEP)
STEP_FIXED: Final = STEP | FIXED
TRANSITION: Final = int(Kind.TRANSITION)
TRANSITION_FIXED: Final = TRANSITION | FIXED
RESET_TAIL: Final = int(Kind.RESET) | TAIL
RESET_RESULT_WHOLE: Final = int(Kind.RESET_RESULT) | FIXED | TAIL
