"""The work on a step's messages in one thread, against what really travels."""

import gymnasium
import numpy as np
import pytest

from rlay.cli.bench_copying import NotCopied, copying
from rlay.envs.facts import facts_of
from rlay.testing.environments import EchoEnv
from rlay.testing.timed import TrivialEnv

SPACES = gymnasium.spaces


def example(env):
    env.reset(seed=0)
    env.action_space.seed(0)
    action = env.action_space.sample()
    return action, env.step(action)


@pytest.mark.parametrize(
    "env",
    [
        TrivialEnv(),
        EchoEnv(SPACES.Text(5)),
        EchoEnv(SPACES.Dict(a=SPACES.Discrete(3), b=SPACES.Box(0, 1, (2,)))),
        EchoEnv(SPACES.Discrete(3), step_info={"n": 1, "words": ["a", "b"]}),
    ],
    ids=["steady", "text", "dict", "info"],
)
def test_copying_gives_the_transition_that_came(env):
    """Steady messages and others: what comes out is what went in, time and again."""
    action, transition = example(env)
    with copying(facts_of(env), action, transition) as copied:
        for _ in range(3):
            found = copied.step()
            assert repr(found) == repr(transition)


def test_copying_knows_the_size_of_both_messages():
    """An action and its type; an observation of 20 bytes, filled up to 24."""
    env = TrivialEnv((5,), "float32")
    with copying(facts_of(env), *example(env)) as copied:
        assert copied.sizes == (16, 24)


@pytest.mark.parametrize("what", ["transition", "action"])
def test_copying_refuses_messages_that_exceed_their_slot(what, monkeypatch):
    """They travel in parts, each of which somebody must take: not in one thread."""
    monkeypatch.setattr("rlay.cli.bench_copying._LIMIT_S", 0.1)
    env = TrivialEnv()
    action, transition = example(env)
    large = np.zeros(2**20)
    if what == "transition":
        transition = (*transition[:4], {"large": large})
    else:
        action = large
    with (
        pytest.raises(NotCopied, match="in parts"),
        copying(facts_of(env), action, transition),
    ):
        pass
