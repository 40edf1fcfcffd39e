"""Kinds and flags as plain numbers are those of the enumerations."""

from rlay.protocol import flags
from rlay.protocol.constants import Flag, Kind


def test_plain_numbers_equal_the_enumerations():
    """Each plain number is its member, and is no enumeration itself."""
    plain = {name: value for name, value in vars(flags).items() if name.isupper()}
    assert plain == {
        "FIXED": Flag.FIXED,
        "TAIL": Flag.TAIL,
        "RECORD": Flag.RECORD,
        "TERMINATED": Flag.TERMINATED,
        "TRUNCATED": Flag.TRUNCATED,
        "NUMPY_TERMINATED": Flag.NUMPY_TERMINATED,
        "NUMPY_TRUNCATED": Flag.NUMPY_TRUNCATED,
        "STEP": Kind.STEP,
        "STEP_FIXED": Kind.STEP | Flag.FIXED,
        "TRANSITION": Kind.TRANSITION,
        "TRANSITION_FIXED": Kind.TRANSITION | Flag.FIXED,
        "RESET_TAIL": Kind.RESET | Flag.TAIL,
        "RESET_RESULT_WHOLE": Kind.RESET_RESULT | Flag.FIXED | Flag.TAIL,
    }
    assert {type(value) for value in plain.values()} == {int}
