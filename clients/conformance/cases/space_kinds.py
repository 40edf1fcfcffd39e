"""Spaces: each kind and each dtype, as observation and as action."""

from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces

from clients.conformance.cases.registering import cases
from clients.conformance.comparing import assert_same
from clients.conformance.scripts import Script
from clients.conformance.stage import Stage

_SAMPLES: Final = 4
_REAL: Final = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64",
)  # fmt: skip
_INTEGERS: Final = _REAL[1:9]
_CHARSET: Final = "aZ09 é\U0001f3ae"

KINDS: Final[list[tuple[str, gymnasium.Space[Any]]]] = [
    ("Box", spaces.Box(-2, 3, (3, 4), np.float32)),
    ("Box, bounds of each element", spaces.Box(
        np.array([-np.inf, 0.0], np.float64), np.array([1.0, np.inf], np.float64)
    )),
    ("Box of no dimensions", spaces.Box(0, 255, (), np.uint8)),
    ("Box, empty", spaces.Box(0, 1, (2, 0), np.float32)),
    ("Box, an image", spaces.Box(0, 255, (84, 84, 3), np.uint8)),
    ("Discrete", spaces.Discrete(5, start=-2)),
    ("MultiDiscrete", spaces.MultiDiscrete([3, 1, 7])),
    ("MultiBinary", spaces.MultiBinary(5)),
    ("MultiBinary of two dimensions", spaces.MultiBinary([2, 3])),
    ("Text", spaces.Text(12, min_length=0, charset=_CHARSET)),
    ("Dict", spaces.Dict(
        b=spaces.Discrete(3), a=spaces.Box(-1, 1, (2,), np.float32)
    )),
    ("Tuple", spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2)))),
    ("Sequence", spaces.Sequence(spaces.Box(-1, 1, (2,), np.float32))),
    ("Sequence, stacked", spaces.Sequence(
        spaces.Box(-1, 1, (2,), np.float32), stack=True
    )),
    ("Graph", spaces.Graph(
        spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(4)
    )),
    ("OneOf", spaces.OneOf((spaces.Discrete(3), spaces.Box(-1, 1, (2,), np.float32)))),
    ("nested", spaces.Dict(
        image=spaces.Box(0, 255, (4, 4), np.uint8),
        words=spaces.Text(6),
        pose=spaces.Tuple((
            spaces.Dict(
                x=spaces.Box(-1, 1, (3,), np.float32), many=spaces.Sequence(
                    spaces.Dict(kind=spaces.Discrete(3), at=spaces.MultiBinary(2))
                ),
            ),
            spaces.Discrete(9),
        )),
    )),
]  # fmt: skip


def _of_dtype(name: str) -> spaces.Box:
    if name == "bool":
        return spaces.Box(0, 1, (5,), np.dtype(np.bool_))  # type: ignore[arg-type]
    dtype = np.dtype(name)
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, (5,), dtype.type)
    limits = np.iinfo(dtype)
    return spaces.Box(limits.min, limits.max, (5,), dtype.type)


DTYPES: Final[list[tuple[str, gymnasium.Space[Any]]]] = [
    *((f"Box of {name}", _of_dtype(name)) for name in _REAL),
    ("Discrete of each dtype", spaces.Dict(
        {name: spaces.Discrete(3, dtype=np.dtype(name).type) for name in _INTEGERS}
    )),
    ("MultiDiscrete of each dtype", spaces.Dict(
        {
            name: spaces.MultiDiscrete([3, 5], dtype=np.dtype(name).type)
            for name in _INTEGERS
        }
    )),
]  # fmt: skip


@cases("space", KINDS)
@cases("dtype", DTYPES)
def _play(stage: Stage, of: gymnasium.Space[Any]) -> None:
    """The space arrives as it is, its elements as observations and as actions too."""
    space = of
    space.seed(7)
    first = [space.sample() for _ in range(_SAMPLES)]
    actions = [space.sample() for _ in range(_SAMPLES)]
    script = Script(
        space,
        resets=[{"observation": [observation]} for observation in first],
        steps=[{}],  # the action is the observation
    )
    program = stage.start(script)
    with stage.attached(program) as env:
        assert env.observation_space == space, (
            f"observation_space is {env.observation_space}, expected {space}"
        )
        assert env.action_space == space
        for observation in first:
            assert_same(env.reset()[0], observation)
            for action in actions:
                answered, reward, terminated, truncated, info = env.step(action)
                assert_same(answered, action)
                assert_same([reward, terminated, truncated], [0.0, False, False])
                assert info == {}
    program.wait(10)
