"""What stands beside observations: seeds, options, infos, rewards, long messages."""

from typing import Any, Final

import numpy as np
from gymnasium import spaces

from clients.conformance.cases.registering import case, cases
from clients.conformance.comparing import assert_exact, assert_same
from clients.conformance.scripts import Script
from clients.conformance.stage import Stage
from rlay.testing.info_strategies import object_array

SPACE: Final = spaces.Box(-1, 1, (2,), np.float32)
AT: Final = np.array([0.5, -0.25], np.float32)
_LONG: Final = 300_000
"""Bytes: several parts of a slot, and several pieces of a frame."""

PLAIN: Final[dict[str, Any]] = {
    "nil": None,
    "true": True,
    "int": -5,
    "large": 2**64 - 1,
    "least": -(2**63),
    "float": 0.1,
    "whole": 2.0,
    "negative zero": -0.0,
    "infinity": float("-inf"),
    "str": "grün \U0001f3ae",
    "bytes": b"\x00\xff",
    "list": [1, [2, None], "x"],
    "map": {"b": {}, "a": {"deep": [True]}},
    "array": np.arange(6, dtype=np.int16).reshape(2, 3),
}
NUMPY: Final[dict[str, Any]] = {
    "tuple": (1, (), "x"),
    "int8": np.int8(-2),
    "uint64": np.uint64(2**63 + 1),
    "float16": np.float16(1.5),
    "float32": np.float32(0.1),
    "float64": np.float64(2.0),
    "bool": np.bool_(True),
    "complex64": np.complex64(1 + 2j),
    "complex128": np.complex128(1 - 2j),
    "objects": object_array([None, (1,), np.float32(1)]),
    "complex": np.array([1 + 2j, 3], np.complex128),
}


def _stands(**entry: Any) -> dict[str, Any]:
    return {"observation": [AT], **entry}


@case("seeds")
def _seeds(stage: Stage) -> None:
    """Seeds of any size arrive, and no seed too."""
    seeds = [None, 0, 1, 2**31, 2**53 + 1, 2**63, 2**64 - 1, 2**64, 2**127 + 12345]
    program = stage.start(Script(SPACE, resets=[_stands(echo=["seed"])]))
    with stage.attached(program) as env:
        for seed in seeds:
            _, info = env.reset(seed=seed)
            assert info == {"seed": None if seed is None else str(seed)}, (seed, info)
    program.wait(10)


@cases("options", [("plain", PLAIN), ("NumPy's types", NUMPY), ("empty", {})])
def _options(stage: Stage, of: dict[str, Any]) -> None:
    """Options arrive, and come back in the info with their types and their order."""
    program = stage.start(Script(SPACE, resets=[_stands(echo=["options"])]))
    with stage.attached(program) as env:
        assert env.reset()[1] == {"options": None}
        _, info = env.reset(options=of)
        assert_exact(info, {"options": of})
    program.wait(10)


@cases("info", [("plain", PLAIN), ("NumPy's types", NUMPY)])
def _info(stage: Stage, of: dict[str, Any]) -> None:
    """An info arrives with its types and its order, from reset and from step."""
    program = stage.start(
        Script(SPACE, resets=[_stands(info=of)], steps=[_stands(info=of)])
    )
    with stage.attached(program) as env:
        assert_exact(env.reset()[1], of)
        assert_exact(env.step(AT)[4], of)
    program.wait(10)


@case("info of numbers")
def _numbers(stage: Stage) -> None:
    """Numbers under the same keys again and again: where records are used."""
    steps = [_stands(info={"score": n / 4, "lives": n, "up": bool(n % 2)})
             for n in range(8)]  # fmt: skip
    program = stage.start(Script(SPACE, resets=[_stands()], steps=steps))
    with stage.attached(program) as env:
        env.reset()
        for entry in steps:
            assert_exact(env.step(AT)[4], entry["info"])
    program.wait(10)


@case("rewards")
def _rewards(stage: Stage) -> None:
    """Rewards keep their bits."""
    rewards = [0.0, -0.0, 0.1, float("inf"), -1e300, 5e-324, 3.0]
    steps = [_stands(reward=reward) for reward in rewards]
    program = stage.start(Script(SPACE, resets=[_stands()], steps=steps))
    with stage.attached(program) as env:
        env.reset()
        for reward in rewards:
            assert_same(env.step(AT)[1], reward)
    program.wait(10)


@cases(
    "end of an episode",
    [
        ("terminated", (True, False)),
        ("truncated", (False, True)),
        ("both", (True, True)),
    ],
)
def _flags(stage: Stage, of: tuple[bool, bool]) -> None:
    """The flags arrive with the last observation, and a reset follows."""
    terminated, truncated = of
    script = Script(
        SPACE,
        resets=[_stands(echo=["resets"])],
        steps=[
            _stands(echo=["step"]),
            _stands(terminated=terminated, truncated=truncated, echo=["step"]),
        ],
    )
    program = stage.start(script)
    with stage.attached(program) as env:
        for episode in (1, 2, 3):
            assert env.reset()[1] == {"resets": episode}
            assert_same(list(env.step(AT)), [AT, 0.0, False, False, {"step": 1}])
            last = [AT, 0.0, terminated, truncated, {"step": 2}]
            assert_same(list(env.step(AT)), last)
    program.wait(10)


LONG_SPACE: Final = spaces.Dict(
    image=spaces.Box(0, 255, (16,), np.uint8), words=spaces.Text(_LONG, charset="abc")
)


@case("observation and action of a megabyte")
def _large(stage: Stage) -> None:
    """Observations and actions of 1 MB arrive whole: many pieces of a frame."""
    space = spaces.Box(0, 255, (640, 512, 3), np.uint8, seed=3)
    one, other = space.sample(), space.sample()
    program = stage.start(Script(space, resets=[{"observation": [one]}]))
    with stage.attached(program) as env:
        assert_same(env.reset()[0], one)
        for action in (other, one):
            assert_same(env.step(action)[0], action)
    program.wait(10)


@case("message in parts")
def _parts(stage: Stage) -> None:
    """What exceeds the slot travels in parts, both ways, and short ones follow."""
    long = {"image": np.arange(16, dtype=np.uint8), "words": "abc" * (_LONG // 3)}
    short = {"image": np.zeros(16, np.uint8), "words": "c"}
    script = Script(LONG_SPACE, resets=[{"observation": [long], "echo": ["options"]}])
    program = stage.start(script)
    options = {"data": bytes(range(256)) * 1200}
    with stage.attached(program) as env:
        observation, info = env.reset(options=options)
        assert_same(observation, long)
        assert_exact(info, {"options": options})
        for action in (long, short, long, long, short):
            assert_same(env.step(action)[0], action)
    program.wait(10)


@case("action outside of its space")
def _odd_actions(stage: Stage) -> None:
    """Such an action travels as it is: the environment judges it."""
    script = Script(
        SPACE,
        spaces.Discrete(3),
        resets=[_stands()],
        steps=[_stands(echo=["action"])],
    )
    program = stage.start(script)
    actions = [1, -1, 2.5, [1, 2], "left", None, True, {"a": 1}, np.zeros(3, np.int8)]
    with stage.attached(program) as env:
        env.reset()
        for action in [*actions, np.int64(2)]:
            assert_same(env.step(action)[4], {"action": action})
    program.wait(10)
