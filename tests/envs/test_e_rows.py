"""Values and misuse: the rows E1 to E9 of the catalogue of faults, both ways round."""

from __future__ import annotations

import re
import struct
import tempfile
import threading
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, InvalidAction, ResetNeeded
from gymnasium.spaces.graph import GraphInstance

import rlay
from rlay.testing.environments import EchoEnv, HashChainEnv, ScriptedEnv, chain_hash
from tests.support.equality import assert_identical, assert_same_space
from tests.support.threads import LIMIT_S, Background, background, raised_by, serving
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)


def returning(*transitions: Any, space: Any = BOX) -> ScriptedEnv:
    """Return an environment whose step n returns the n-th of these, again and again."""

    def step(env: ScriptedEnv, action: Any) -> Any:
        return transitions[(env.steps - 1) % len(transitions)]

    return ScriptedEnv(observation_space=space, step_fn=step)


def sound() -> Any:
    return np.ones(3, np.float32)


# ----------------------------------------------- E1: NaN, infinities, zeros, subnormals

BITS = {  # of each width: NaNs quiet, signalling and with a payload; and what is rare
    np.float16: [0x7E00, 0x7C01, 0xFE55, 0x7C00, 0xFC00, 0x8000, 0x0001, 0x83FF],
    np.float32: [
        *(0x7FC00000, 0x7F800001, 0xFFC12345, 0x7F800000, 0xFF800000),
        *(0x80000000, 0x00000001, 0x807FFFFF),
    ],
    np.float64: [
        *(0x7FF8 << 48, (0x7FF0 << 48) + 1, (0xFFF8 << 48) + 0x12345),
        *(0x7FF0 << 48, 0xFFF0 << 48, 0x8000 << 48, 1, (0x800F << 48) + 0xFFFF),
    ],
}


def rare(dtype: Any) -> Any:
    """Return an array of ``dtype`` with every rare number."""
    width = np.dtype(dtype).itemsize
    return np.array(BITS[dtype], f"u{width}").view(dtype)


@pytest.mark.parametrize("dtype", list(BITS), ids=lambda dtype: dtype.__name__)
def test_e1_observations_and_actions_keep_every_bit(remote, dtype):
    """What an array's bits are, they stay, there and back."""
    values = rare(dtype)
    with remote(EchoEnv(spaces.Box(-np.inf, np.inf, values.shape, dtype))) as env:
        env.reset()
        for _ in range(3):
            observation = env.step(values)[0]
            assert observation.dtype == dtype
            assert observation.tobytes() == values.tobytes()


@pytest.mark.parametrize("dtype", list(BITS), ids=lambda dtype: dtype.__name__)
def test_e1_rewards_keep_every_bit_and_their_type(remote, dtype):
    """So do rewards: Python's floats and NumPy's numbers of any width."""
    rewards = [*rare(dtype), *(struct.unpack("<d", x)[0] for x in doubles())]
    target = returning(*((sound(), reward, False, False, {}) for reward in rewards))
    with remote(target) as env:
        env.reset()
        for reward in rewards:
            assert_identical(env.step(0)[1], reward)


def doubles() -> list[bytes]:
    return [struct.pack("<Q", bits) for bits in BITS[np.float64]]


def test_e1_info_keeps_every_bit(remote):
    """So does info: first as a value, then as a record of unchanged keys."""
    infos: list[dict[str, Any]] = [
        {"float": struct.unpack("<d", x)[0], "scalar": number, "n": index}
        for index, (x, number) in enumerate(
            zip(doubles(), rare(np.float32), strict=True)
        )
    ]
    infos.append({"arrays": [rare(dtype) for dtype in BITS]})
    target = returning(*((sound(), 0.0, False, False, info) for info in infos))
    with remote(target) as env:
        env.reset()
        for info in infos * 2:
            assert_identical(env.step(0)[4], info)


# ----------------------------------------------------- E2: not the promised observation

NESTED = spaces.Dict(
    {"eyes": spaces.Tuple((BOX, spaces.MultiBinary(2))), "n": spaces.Discrete(5)}
)


def nested(**changes: Any) -> dict[str, Any]:
    return {"eyes": (sound(), np.zeros(2, np.int8)), "n": 1, **changes}


@pytest.mark.parametrize(
    ("space", "wrong", "said"),
    [
        (BOX, np.ones(3), r"expected float32 \(3,\), got float64 \(3,\), at \$"),
        (BOX, np.ones(4, np.float32), r"expected .*\(3,\), got .*\(4,\), at \$"),
        (BOX, [1.0, 2.0, 3.0], r"expected an array .*, got list"),
        (BOX, None, r"expected an array .*, got NoneType"),
        (BOX, "left", r"expected an array .*, got str left"),
        (NESTED, nested(n=1.5), r"expected an integer, got float 1.5, at \$\.n"),
        (NESTED, nested(eyes=(sound(),)), r"expected a tuple of 2.*at \$\.eyes"),
        (
            NESTED,
            nested(eyes=(sound(), np.zeros(2))),
            r"expected int8 \(2,\), got float64 \(2,\), at \$\.eyes\[1\]",
        ),
        (NESTED, {"n": 1}, r"missing \['eyes'\], surplus \[\]"),
        (NESTED, nested(more=1), r"missing \[\], surplus \['more'\]"),
        (NESTED, [1, 2], r"expected a dict, got list"),
        (spaces.Text(5), 5, "expected a str, got int"),
        (spaces.Sequence(BOX), (sound(), np.ones(3)), r"at \$\[1\]"),
        (
            spaces.OneOf((BOX, spaces.Discrete(2))),
            (2, sound()),
            r"index below 2, got int 2, at \$\[0\]",
        ),
        (spaces.Graph(BOX, None), sound(), "expected a GraphInstance"),
    ],
)
def test_e2_wrong_observation_is_told_with_both_and_the_path(
    remote, space, wrong, said
):
    """SpaceMismatch says what was promised, what came and where; the next one works."""
    good: Any = (space.sample(), 1.0, False, False, {})
    target = returning((wrong, 0.0, False, False, {}), good, space=space)
    with remote(target) as env:
        env.reset()
        with pytest.raises(rlay.SpaceMismatch, match=said):
            env.step(0)
        assert env.step(0)[1] == 1.0


def test_e2_wrong_first_observation_is_told_too(remote):
    """reset() is held to the same promise, and can be repeated."""
    target = returning((sound(), 0.0, False, False, {}))
    target._reset_fn = lambda env, seed, options: (
        (np.ones(3) if env.resets == 1 else sound()),
        {},
    )
    with remote(target) as env:
        with pytest.raises(rlay.SpaceMismatch, match="got float64"):
            env.reset()
        env.reset()
        env.step(0)


@pytest.mark.parametrize(
    "transition",
    [None, 5, (), (1, 2, 3, 4), (1, 2, 3, 4, 5, 6)],
    ids=["none", "int", "empty", "four", "six"],
)
def test_e2_what_is_no_transition_is_told(remote, transition):
    """A step that returns no five things is the environment's error, told as such."""
    good: Any = (sound(), 1.0, False, False, {})
    with remote(returning(transition, good)) as env:
        env.reset()
        with pytest.raises(rlay.RemoteEnvError) as caught:
            env.step(0)
        assert caught.value.remote_type in ("TypeError", "ValueError")
        assert env.step(0)[1] == 1.0


# -------------------------------------------------------------------- E3: odd actions

ODD_ACTIONS = [
    *(None, True, 5, -7, 2**62, 1.5, "left", b"\x00\xff", [1, [2.0, None]], (1, (2,))),
    {"a": 1, "b": (np.float32(2),)},
    np.int64(3),
    np.float64(0.5),
    np.bool_(True),
    np.array(7),
    np.ones((2, 2), np.float64),
    np.ones(3, np.float64),
    np.array([np.nan, 1e30], np.float32),
    np.zeros((0, 3), np.uint8),
]


@pytest.mark.parametrize(
    "space", [spaces.Discrete(4), BOX, NESTED], ids=["discrete", "box", "dict"]
)
def test_e3_odd_actions_reach_the_environment_as_they_are(remote, space):
    """Neither cast nor checked: value, type and bits are the trainer's."""
    seen: list[Any] = []

    def step(env: ScriptedEnv, action: Any) -> Any:
        seen.append(action)
        return sound(), 0.0, False, False, {}

    target = ScriptedEnv(observation_space=BOX, action_space=space, step_fn=step)
    with remote(target) as env:
        env.reset()
        for action in ODD_ACTIONS:
            env.step(action)
    assert_identical(seen, ODD_ACTIONS)


@pytest.mark.parametrize(
    ("action", "path"),
    [
        (object(), r"at \$$"),
        ([1, {2}], r"at \$\[1\]$"),
        ({"turn": (0, 1j)}, r"at \$\.turn\[1\]$"),
        (2**64, r"at \$$"),
        (np.array(["left"]), r"at \$$"),
        (lambda: 1, r"at \$$"),
    ],
    ids=["object", "set", "complex", "huge", "text array", "function"],
)
def test_e3_action_that_cannot_be_encoded_refused_before_sending(remote, action, path):
    """InvalidAction names the path; the environment has heard nothing."""
    target = ScriptedEnv(
        step_fn=lambda env, action: (
            np.zeros(2, np.float32),
            float(env.steps),
            False,
            False,
            {},
        )
    )
    with remote(target) as env:
        env.reset()
        with pytest.raises(InvalidAction, match=path):
            env.step(action)
        assert env.step(0)[1] == 1.0


def test_e3_action_that_cannot_be_encoded_names_its_path_in_the_whole(remote):
    """Also where the part that cannot travels by itself, as texts and sequences do."""
    space = spaces.Dict(
        {"a": BOX, "b": spaces.Tuple((BOX, spaces.Sequence(BOX))), "t": spaces.Text(5)}
    )

    def action(part: Any, text: str) -> dict[str, Any]:
        return {"a": sound(), "b": (sound(), (sound(), part)), "t": text}

    with remote(EchoEnv(space)) as env:
        env.reset()
        with pytest.raises(InvalidAction, match=r"at \$\.b\[1\]\[1\]$"):
            env.step(action(object(), "x"))
        with pytest.raises(InvalidAction, match=r"at \$\.t$"):
            env.step(action(sound(), "\ud800"))
        env.step(action(sound(), "x"))


def test_e3_observation_that_cannot_be_encoded_names_its_path_in_the_whole(remote):
    """The same for what the environment returns: SpaceMismatch at both ends."""
    space = spaces.Dict({"a": BOX, "t": spaces.Text(5)})
    bad: Any = ({"a": sound(), "t": "\ud800"}, 0.0, False, False, {})
    good: Any = ({"a": sound(), "t": "x"}, 1.0, False, False, {"n": 1})
    for policy in ("raise", "repr"):
        with remote(
            returning(bad, good, space=space), on_unsendable_info=policy
        ) as env:
            env.reset()
            with pytest.raises(rlay.SpaceMismatch, match=r"at \$\.t\."):
                env.step(0)
            assert env.step(0)[4] == {"n": 1}


# ---------------------------------------------------------------------------- E4: info


def test_e4_info_of_every_supported_kind_arrives_as_it_was(remote):
    """Scalars of all types, nested containers, arrays, object arrays, in order."""
    objects = np.empty((2, 2), object)
    objects[:] = [[None, "a"], [np.float32(1.5), {"deep": (1,)}]]
    infos: list[Any] = [
        {},
        {
            "none": None,
            "bool": True,
            "int": -(2**63),
            "float": 0.1,
            "str": "\u00e9\U0001f600",
        },
        {"z": 1, "a": 2, "m": {"y": 1, "b": [1, (2, (3, [b"x"]))]}, "": {}},
        {"np": [np.bool_(False), np.int8(-1), np.uint64(2**64 - 1), np.float16(0.5)]},
        {"complex": np.complex128(1 + 2j), "arrays": (np.eye(3), np.zeros((0, 2)))},
        {"objects": objects, "big": bytes(range(256)) * 40_000},
        {"image": np.arange(10_000_000, dtype=np.uint8).reshape(1000, -1)},
    ]
    target = returning(*((sound(), 0.0, False, False, info) for info in infos))
    with remote(target) as env:
        env.reset()
        for info in infos:
            assert_identical(env.step(0)[4], info)


def cycle() -> dict[str, Any]:
    info: dict[str, Any] = {"list": [1]}
    info["list"].append(info)
    return info


def chain() -> dict[str, Any]:
    info: dict[str, Any] = {}
    for _ in range(5000):
        info = {"n": info}
    return info


@pytest.mark.parametrize(
    ("info", "path"),
    [
        ({"a": {"b": [0, {1, 2}]}}, r"set.*\$\.a\.b\[1\]"),
        ({"env": object()}, r"object.*\$\.env"),
        ({"f": lambda: 1}, r"function.*\$\.f"),
        ({"big": 2**64}, r"\$\.big"),
        ({"c": 1j}, r"complex.*\$\.c"),
        ({"when": np.datetime64("2020-01-01")}, r"\$\.when"),
        ({"names": np.array(["a"])}, r"\$\.names"),
        ({1: 2}, r"\$"),
        ({"deep": {("a", 1): 2}}, r"\$\.deep"),
        (cycle(), r"\$\.list\[1\]"),
        (chain(), r"\$\.n\.n"),
        ("no dict", None),
        (None, None),
    ],
    ids=[
        *("set", "object", "function", "huge", "complex", "datetime", "text array"),
        *("int key", "tuple key", "cycle", "chain", "str", "none"),
    ],
)
def test_e4_info_that_cannot_travel_names_its_path(remote, info, path):
    """A clear error, or, where it can be encoded, the value; the next step works."""
    good = (sound(), 1.0, False, False, {"good": 1})
    with remote(returning((sound(), 0.0, False, False, info), good)) as env:
        env.reset()
        if path is None:
            assert_identical(env.step(0)[4], info)
        else:
            with pytest.raises(rlay.RemoteEnvError, match=path):
                env.step(0)
        assert env.step(0)[4] == {"good": 1}


# --------------------------------------------------------------------- E5: out of order


def test_e5_step_before_reset(remote):
    """Gymnasium's ResetNeeded; the environment has heard nothing."""
    with remote(HashChainEnv()) as env:
        with pytest.raises(ResetNeeded):
            env.step(0)
        env.reset()


def test_e5_step_after_the_end_of_an_episode(remote):
    """ClientEnv asks the environment, as in-process; ServerEnv needs a reset."""
    local = HashChainEnv(episode_length=1)
    with remote(HashChainEnv(episode_length=1)) as env:
        env.reset(seed=1)
        local.reset(seed=1)
        assert_identical(env.step(1), local.step(1))
        if isinstance(env, rlay.ServerEnv):
            with pytest.raises(ResetNeeded):
                env.step(1)
        else:
            assert_identical(env.step(1), local.step(1))
        env.reset(seed=2)
        env.step(1)


def test_e5_step_and_reset_after_close_and_close_twice(remote):
    """Gymnasium's ClosedEnvironmentError; a second close does nothing."""
    with remote(HashChainEnv()) as env:
        env.reset()
        env.close()
        env.close()
        for call in (lambda: env.step(0), env.reset, env.render):
            with pytest.raises(ClosedEnvironmentError):
                call()


def blocking(go: threading.Event, entered: threading.Event) -> HashChainEnv:
    """Return a chain of hashes whose action 13 waits for ``go``."""

    class Blocking(HashChainEnv):
        def step(self, action: Any) -> Any:
            if action == 13:
                entered.set()
                go.wait(LIMIT_S)
            return super().step(action)

    return Blocking()


def test_e5_close_during_a_pending_step_ends_it_with_a_clear_error(remote):
    """close() in another thread returns at once; the step raises that it was closed."""
    go, entered = threading.Event(), threading.Event()
    with remote(blocking(go, entered)) as env:
        env.reset()
        step = Background(lambda: raised_by(Exception, env.step, 13))
        assert entered.wait(LIMIT_S)
        env.close()  # the environment still blocks: close does not wait for it
        error = step.outcome()
        assert isinstance(error, (rlay.ChannelClosed, ClosedEnvironmentError)), error
        assert "closed" in str(error)
        assert not go.is_set()
        with pytest.raises(ClosedEnvironmentError):
            env.step(0)
        go.set()


# --------------------------------------------------------------------------- E6: spaces

ALL_SPACES: dict[str, spaces.Space[Any]] = {
    "box": BOX,
    "box of rank 0": spaces.Box(-1.0, 1.0, (), np.float64),
    "empty box": spaces.Box(0, 255, (0, 3), np.uint8),
    "half bounded box": spaces.Box(
        np.array([-np.inf, 0.0]), np.array([1.0, np.inf]), dtype=np.float64
    ),
    "bool box": spaces.Box(0, 1, (4,), np.bool_),
    "discrete": spaces.Discrete(3, start=-2),
    "binary": spaces.MultiBinary([2, 3]),
    "multi discrete": spaces.MultiDiscrete([2, 5], dtype=np.int32, start=[-1, 7]),
    "text": spaces.Text(9, min_length=2, charset="ab\u00e9\U0001f600"),
    "dict": NESTED,
    "tuple": spaces.Tuple((spaces.Discrete(2), spaces.Text(3))),
    "sequence": spaces.Sequence(spaces.Tuple((BOX, spaces.Discrete(3)))),
    "stacked sequence": spaces.Sequence(BOX, stack=True),
    "graph": spaces.Graph(BOX, spaces.Discrete(4)),
    "graph without edges": spaces.Graph(spaces.Discrete(4), None),
    "one of": spaces.OneOf((BOX, spaces.Text(4), spaces.Discrete(3))),
}


@pytest.mark.parametrize("name", ALL_SPACES)
def test_e6_every_kind_of_space_and_its_elements_arrive_as_they_were(remote, name):
    """The space itself, and its samples as observations and as actions."""
    space = ALL_SPACES[name]
    with remote(EchoEnv(space)) as env:
        assert_same_space(env.observation_space, space)
        assert_same_space(env.action_space, space)
        env.reset(seed=1)
        env.action_space.seed(5)
        for _ in range(4):
            action = env.action_space.sample()
            assert_identical(env.step(action)[0], action)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (
            spaces.Dict({"a": spaces.Tuple((spaces.Text(3, charset="\ud800"),))}),
            r"\$\.a\[0\]",
        ),
        (spaces.Dict({1: BOX}), r"keys must be str, 1 is not, at \$"),  # type: ignore[dict-item]
    ],
    ids=["surrogate", "int key"],
)
def test_e6_space_that_cannot_travel_refused_with_its_path_at_both_ends(space, said):
    """The backend raises it, and so does a client that waits."""
    with background(
        lambda: raised_by(rlay.RLayError, rlay.ClientEnv, "x", connect_timeout=LIMIT_S)
    ) as client:
        with pytest.raises(rlay.SpaceMismatch, match=said):
            rlay.ServerBackend(EchoEnv(space), name="x").run()
        assert re.search(said, str(client.outcome()))
    with pytest.raises(rlay.SpaceMismatch, match=said):
        rlay.ClientBackend(EchoEnv(space), name="x")


# ---------------------------------------------------------------- E7: seeds and options


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63, 2**64, 2**200])
def test_e7_seed_of_any_size_gives_the_same_trajectory(remote, seed):
    """A seeded episode is the one that the environment has in this process."""
    local = gymnasium.make("CartPole-v1")
    with remote(gymnasium.make("CartPole-v1")) as env:
        assert_identical(env.reset(seed=seed), local.reset(seed=seed))
        for action in (0, 1, 1, 0, 1):
            assert_identical(env.step(action), local.step(action))
        assert_identical(env.reset(), local.reset())
    local.close()


def test_e7_seed_none_is_none_there(remote):
    """No seed stays no seed: the environment goes on with its generator."""
    seen: list[Any] = []

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        seen.append((seed, options))
        return np.zeros(2, np.float32), {}

    with remote(ScriptedEnv(reset_fn=reset)) as env:
        env.reset()
        env.reset(seed=0, options={})
    assert seen == [(None, None), (0, {})]


@pytest.mark.parametrize("seed", [-1, 1.5, "one"])
def test_e7_seed_that_is_none_is_for_the_environment_to_refuse(remote, seed):
    """What Gymnasium says of such a seed in-process is what the error says."""
    local = gymnasium.make("CartPole-v1")
    expected = raised_by(Exception, local.reset, seed=seed)
    local.close()
    with remote(gymnasium.make("CartPole-v1")) as env:
        with pytest.raises(rlay.RemoteEnvError) as caught:
            env.reset(seed=seed)
        assert caught.value.remote_type == type(expected).__name__
        env.reset(seed=1)


def test_e7_options_nested_arrive_as_they_were(remote):
    """Options are values like info: containers, scalars and arrays, in order."""
    options = {
        "z": 1,
        "a": [None, (True, {"deep": np.float32(0.5)})],
        "array": np.arange(6).reshape(2, 3),
        "bytes": b"\x00\x01",
        "large": np.zeros(300_000, np.uint8),
        "big int": 2**80,
    }
    seen: list[Any] = []

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        seen.append(options)
        return np.zeros(2, np.float32), {}

    with remote(ScriptedEnv(reset_fn=reset)) as env:
        env.reset(options=options)
    assert_identical(seen, [options])


def test_e7_options_that_cannot_travel_refused_before_sending(remote):
    """LocalProtocolError names the path; the environment was not reset."""
    target = ScriptedEnv(
        reset_fn=lambda env, *_: (np.zeros(2, np.float32), {"resets": env.resets})
    )
    with remote(target) as env:
        env.reset()
        with pytest.raises(rlay.LocalProtocolError, match=r"options.*at \$\.a\[0\]"):
            env.reset(options={"a": [object()]})
        env.step(0)
        assert env.reset()[1] == {"resets": 2}


# --------------------------------------------------------------------- E8: two threads


def test_e8_second_thread_in_a_pending_step_gets_a_clear_error(remote):
    """It is turned away at once; the step in flight returns its own transition."""
    go, entered = threading.Event(), threading.Event()
    local = HashChainEnv()
    with remote(blocking(go, entered)) as env:
        env.reset(seed=1)
        local.reset(seed=1)
        step = Background(lambda: env.step(13))
        assert entered.wait(LIMIT_S)
        for call in (lambda: env.step(7), env.reset, env.render):
            with pytest.raises(rlay.LocalProtocolError, match="two threads"):
                call()
        go.set()
        assert_identical(step.outcome(), local.step(13))
        assert_identical(env.step(7), local.step(7))


def test_e8_two_threads_that_hammer_one_environment_corrupt_nothing(remote):
    """Each step that returned is one link of the chain, and there are no others."""
    done: list[tuple[int, int, str]] = []
    turned_away: list[int] = []
    with remote(HashChainEnv(episode_length=None)) as env:
        env.reset(seed=1)

        def hammer(first: int) -> None:
            for action in range(first, first + 100):
                try:
                    info = env.step(action)[4]
                except rlay.LocalProtocolError:
                    turned_away.append(action)
                else:
                    done.append((info["steps"], action, info["hash"]))

        threads = [Background(lambda f=f: hammer(f)) for f in (0, 100)]  # type: ignore[misc]
        for thread in threads:
            thread.outcome()
    done.sort()
    assert [steps for steps, _, _ in done] == list(range(1, len(done) + 1))
    assert len(done) + len(turned_away) == 200
    local = HashChainEnv()
    local.reset(seed=1)
    state = local.state
    for _, action, digest in done:
        state = chain_hash(state, [local.action_bytes(action)])
        assert digest == state.hex()


def test_e8_spaces_read_while_another_thread_waits_for_the_game():
    """Only one thread greets the game; the other is turned away, then served."""
    with rlay.ServerEnv("x") as env:
        waiting = Background(lambda: raised_by(rlay.ChannelClosed, env.reset))
        wait_until(lambda: env._in_use[0])
        with pytest.raises(rlay.LocalProtocolError, match="two threads"):
            _ = env.observation_space
        env.close()
        waiting.outcome()


# ----------------------------------------------------------------------- E9: odd arrays


def odd_arrays() -> dict[str, Any]:
    """Return arrays of float32 (4, 6) that are laid out in memory in every way."""
    plain = np.arange(24, dtype=np.float32).reshape(4, 6)
    frozen = plain.copy()
    frozen.setflags(write=False)
    wide = np.zeros((8, 12), np.float32)
    wide[::2, ::2] = plain
    with tempfile.NamedTemporaryFile() as file:
        mapped = np.memmap(file.name, np.float32, "w+", shape=(4, 6))
        mapped[:] = plain
        mapped.flush()
    return {
        "contiguous": plain,
        "strided": wide[::2, ::2],
        "fortran": np.asfortranarray(plain),
        "transposed": plain.T.copy().T,
        "reversed": plain[::-1, ::-1].copy()[::-1, ::-1],
        "broadcast": np.broadcast_to(plain[0], (4, 6)),
        "big-endian": plain.astype(">f4"),
        "read-only": frozen,
        "unaligned": unaligned(plain),
        "memmap": mapped,
    }


def unaligned(plain: Any) -> Any:
    memory = np.zeros(plain.nbytes + 1, np.uint8)[1:]
    array = memory.view(np.float32).reshape(plain.shape)
    array[:] = plain
    return array


@pytest.mark.parametrize("name", odd_arrays())
def test_e9_arrays_of_any_layout_arrive_equal_and_in_order(remote, name):
    """As observation, action and in info: C-contiguous, native, the same numbers."""
    array = odd_arrays()[name]
    space = spaces.Box(-np.inf, np.inf, (4, 6), np.float32)
    expected = np.array(array, np.float32, order="C")
    with remote(EchoEnv(space, step_info={"array": array})) as env:
        env.reset()
        observation, _, _, _, info = env.step(array)
    for arrived in (observation, info["array"]):
        assert type(arrived) is np.ndarray
        assert arrived.flags.c_contiguous
        assert arrived.dtype == np.dtype("=f4")
        assert_identical(arrived, expected)


def test_e9_graph_of_odd_arrays_arrives_equal(remote):
    """Inside a graph and a sequence layouts do not matter either."""
    nodes = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    edges = np.array([1, 3], ">i8")
    links = np.array([[0, 1], [1, 0]], np.int32)[:, ::-1]
    graph = GraphInstance(nodes, edges, links)
    with remote(EchoEnv(spaces.Graph(BOX, spaces.Discrete(4)))) as env:
        env.reset()
        arrived = env.step(graph)[0]
    assert type(arrived) is GraphInstance
    for one, other in zip(arrived, graph, strict=True):
        assert_identical(np.asarray(one), np.asarray(other))


def test_e9_observations_of_a_serving_environment_may_be_reused_by_it():
    """An environment that returns the same array each time and writes into it."""
    memory = np.zeros(3, np.float32)

    def step(env: ScriptedEnv, action: Any) -> Any:
        memory[:] = env.steps
        return memory, 0.0, False, False, {}

    target = ScriptedEnv(observation_space=BOX, step_fn=step)
    with serving(target, name="x"), rlay.ClientEnv("x") as env:
        env.reset()
        seen = [env.step(0)[0] for _ in range(4)]
    assert [array[0] for array in seen] == [1, 2, 3, 4]
