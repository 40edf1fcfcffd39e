"""The strategies draw what they promise, and the whole range of it."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from rlay.testing import strategies as ours
from rlay.testing.info_strategies import DTYPES, LOOKALIKES, UNSENDABLE_KINDS
from tests.support.equality import assert_identical, identical

ANY_SPACE = ours.spaces_of_any_kind()
KINDS = [
    *(spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete),
    *(spaces.Text, spaces.Dict, spaces.Tuple, spaces.Sequence, spaces.Graph),
    spaces.OneOf,
]

# Gymnasium warns where an extreme bound overflows in its own arithmetic.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")


def draws(strategy, condition):
    """Return whether the strategy draws something for which the condition holds."""
    quick = settings(
        max_examples=2000, derandomize=True, database=None, phases=[Phase.generate]
    )
    try:
        find(strategy, condition, settings=quick)
    except NoSuchExample:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_spaces_include_each_kind(kind):
    """A space of each of the ten kinds is drawn."""
    assert draws(ANY_SPACE, lambda space: type(space) is kind)


@pytest.mark.parametrize("kind", [spaces.Dict, spaces.Tuple, spaces.OneOf])
def test_spaces_are_nested(kind):
    """A container within a container is drawn."""

    def nests(space):
        parts = getattr(space, "spaces", ())
        parts = parts.values() if isinstance(parts, dict) else parts
        return any(type(part) is kind for part in parts)

    assert draws(ANY_SPACE, nests)


@pytest.mark.parametrize("dtype", ours.REAL_DTYPES, ids=str)
def test_boxes_have_each_dtype(dtype):
    """A Box of each dtype is drawn."""
    assert draws(ours.boxes(), lambda box: box.dtype == dtype)


BOX_CASES = {
    "0-d": lambda box: box.shape == (),
    "empty": lambda box: 0 in box.shape,
    "rank 3": lambda box: len(box.shape) == 3 and box.low.size > 1,
    "limits of int64": lambda box: (
        box.dtype == np.int64 and box.low.size and box.low.min() == -(2**63)
    ),
    "unbounded integers": lambda box: (
        box.dtype.kind == "i" and box.low.size and not box.bounded_below.any()
    ),
    "half bounded": lambda box: (
        box.low.size and np.all(box.bounded_below) and not np.all(box.bounded_above)
    ),
    "bounds that differ": lambda box: box.low.size > 1 and len(np.unique(box.low)) > 1,
}


@pytest.mark.parametrize("case", BOX_CASES)
def test_boxes_have_each_kind_of_bounds_and_shape(case):
    """Each shape and kind of bounds that is easily lost is drawn."""
    assert draws(ours.boxes(), BOX_CASES[case])


def test_dicts_keep_an_order_of_their_own():
    """A Dict whose keys are not sorted is drawn."""
    strategy = ours.dicts(ours.discretes())
    assert draws(strategy, lambda space: list(space.spaces) != sorted(space.spaces))


def test_texts_have_characters_outside_ascii():
    """A charset with a character beyond the basic plane is drawn."""
    assert draws(ours.texts(), lambda text: max(text.characters) > "\uffff")


@given(data=st.data())
def test_elements_lie_in_their_space(data):
    """A bounded element of any space is an element to Gymnasium."""
    space = data.draw(ANY_SPACE)
    element = data.draw(ours.elements(space))
    try:
        contained = space.contains(element)
    except ValueError:  # Gymnasium cannot look into an empty stack of tuples
        return
    assert contained


@given(data=st.data())
def test_elements_do_not_move_the_spaces_generator(data):
    """Drawing an element leaves the space's own samples as they were."""
    space = data.draw(ANY_SPACE)
    space.seed(1)
    before = copy.deepcopy(space)
    data.draw(ours.elements(space))
    assert identical(space.sample(), before.sample())


def test_unbounded_elements_have_nan_payloads():
    """A NaN with other bits than numpy's own is drawn for a float Box."""
    box = spaces.Box(-1, 1, (4,), np.float64)
    usual = np.array(np.nan).view(np.uint64)

    def has_payload(element):
        bits = element.view(np.uint64)
        return bool((np.isnan(element) & (bits != usual)).any())

    # One in 2048 of random floats is a NaN.
    wide = ours.elements(spaces.Box(-1, 1, (4000,), np.float64), bounded=False)
    assert draws(wide, has_payload)
    assert not draws(ours.elements(box), lambda element: np.isnan(element).any())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arrays_and_scalars_have_each_dtype(dtype):
    """An array and a scalar of each dtype are drawn."""
    assert draws(ours.arrays(), lambda array: array.dtype == dtype)
    assert draws(ours.numpy_scalars(), lambda scalar: scalar.dtype == dtype)


ARRAY_CASES = {
    "Fortran order": lambda a: a.flags.f_contiguous and not a.flags.c_contiguous,
    "strided": lambda a: not a.flags.c_contiguous and not a.flags.f_contiguous,
    "reversed": lambda a: any(stride < 0 for stride in a.strides) and a.size > 1,
    "read-only": lambda a: not a.flags.writeable,
    "big-endian": lambda a: a.dtype.str.startswith(">"),
    "0-d": lambda a: a.shape == (),
    "empty": lambda a: a.size == 0,
}


@pytest.mark.parametrize("case", ARRAY_CASES)
def test_arrays_have_each_layout(case):
    """Each memory layout is drawn."""
    assert draws(ours.arrays(), ARRAY_CASES[case])


LEAF_CASES = {
    "None": lambda value: value is None,
    "True": lambda value: value is True,
    "largest int": lambda value: type(value) is int and value == 2**64 - 1,
    "smallest int": lambda value: type(value) is int and value == -(2**63),
    "-0.0": lambda value: identical(value, -0.0),
    "NaN": lambda value: type(value) is float and value != value,
    "subnormal": lambda value: type(value) is float and 0 < value < 1e-310,
    "str": lambda value: type(value) is str and not value.isascii(),
    "bytes": lambda value: type(value) is bytes and len(value) > 0,
    "list": lambda value: type(value) is list and len(value) > 0,
    "tuple": lambda value: type(value) is tuple and len(value) > 0,
    "dict": lambda value: type(value) is dict and len(value) > 0,
    "object array": lambda value: (
        isinstance(value, np.ndarray) and value.dtype == object and value.size > 0
    ),
}


@pytest.mark.parametrize("case", LEAF_CASES)
def test_plain_values_include_each_kind(case):
    """Each kind of value that info may hold is drawn."""
    assert draws(ours.plain_values(), LEAF_CASES[case])


@given(ours.infos())
def test_infos_leave_rlays_own_key_alone(info):
    """An info is a dict with str keys, none of them ``rlay``."""
    assert type(info) is dict
    assert all(type(name) is str and name != "rlay" for name in info)


def follow(info, path):
    """Return what stands at ``path`` in ``info``."""
    value = info
    for step in path.removeprefix("$").replace("[", ".[").split(".")[1:]:
        value = value[int(step[1:-1])] if step.startswith("[") else value[step]
    return value


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(ours.unsendables() | ours.lookalikes())
def test_unsendables_name_the_path_of_their_fault(unsendable):
    """At the path stands a value of the kind that is named."""
    kinds = {**UNSENDABLE_KINDS, **LOOKALIKES}
    fresh = kinds[unsendable.kind]()
    assert type(follow(unsendable.info, unsendable.path)) is type(fresh)


def test_identical_tells_what_looks_alike_apart():
    """The equality under all of these tests sees type, bits, dtype and order."""
    different = [
        (1, True),
        (1, 1.0),
        (1, np.int64(1)),
        (0.0, -0.0),
        (np.float32(1), np.float64(1)),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.zeros(2, np.int32), np.zeros(2, np.int64)),
        (np.zeros((2, 1)), np.zeros((1, 2))),
        (np.array([0.0]), np.array([-0.0])),
        (np.uint64(0x7FF8 << 48).view("f8"), np.uint64(0x7FF8 << 48 | 1).view("f8")),
        ("a", b"a"),
        (None, False),
    ]
    assert [pair for pair in different if identical(*pair)] == []


def test_identical_ignores_memory_layout():
    """Order, strides, writeability and byte order are no part of a value."""
    array = np.arange(6.0).reshape(2, 3)
    frozen = array.copy()
    frozen.flags.writeable = False
    for other in (np.asfortranarray(array), frozen, array.astype(">f8")):
        assert_identical(other, array)


def test_environments_need_no_hypothesis():
    """rlay.testing.environments imports where Hypothesis is not installed."""
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import rlay.testing.environments\n"
        "try: import rlay.testing.strategies\n"
        "except ImportError as error: assert 'pip install hypothesis' in str(error)\n"
        "else: raise SystemExit('imported without hypothesis')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
