"""Channel groups, and names that are taken."""

from __future__ import annotations

from contextlib import ExitStack

import gymnasium
import numpy as np
import pytest

import rlay
from rlay.testing.environments import HashChainEnv
from tests.support.threads import (
    background,
    serving,
)

pytestmark = pytest.mark.usefixtures("channel_directory")


def make_hash_chain() -> HashChainEnv:
    return HashChainEnv(episode_length=5)


# --------------------------------------------------------------------- channel groups


def test_group_takes_the_first_free_channel_in_numeric_order():
    """n.* takes n.0, n.2, n.10 in this order, and a channel that was let go again."""
    with ExitStack() as stack:
        for number in (10, 2, 0):
            stack.enter_context(
                serving(HashChainEnv, name=f"n.{number}", sessions=None)
            )
        stack.enter_context(serving(HashChainEnv, name="n.x", sessions=None))
        envs = [rlay.ClientEnv("n.*") for _ in range(3)]
        busy = [attached_to(env) for env in envs]
        assert busy == ["n.0", "n.2", "n.10"]
        envs[1].close()
        again = rlay.ClientEnv("n.*")
        assert attached_to(again) == "n.2"
        for env in (*envs, again):
            env.close()


def attached_to(env: rlay.ClientEnv) -> str:
    """Return the name of the channel that an environment of a group is on."""
    assert env._link is not None
    name: str = env._link.channel.name
    return name


def test_group_that_is_taken_names_its_size_and_the_remedy():
    """A client too many is told how many there are and how to serve more."""
    with (
        serving(HashChainEnv, name="n.0", sessions=None),
        rlay.ClientEnv("n.*"),
        pytest.raises(rlay.ChannelBusy, match=r"all 1 channels .*--channels 2"),
    ):
        rlay.ClientEnv("n.*", connect_timeout=0.1)


def test_group_is_waited_for():
    """A group of which nothing is there yet is waited for like a channel."""
    with pytest.raises(rlay.ConnectTimeout, match=r"'n\.\*'"):
        rlay.ClientEnv("n.*", connect_timeout=0.05)
    with (
        background(lambda: rlay.ClientEnv("n.*")) as thread,
        serving(HashChainEnv, name="n.3"),
    ):
        thread.outcome().close()


def test_group_serves_gymnasiums_vector_environment():
    """Code that makes the same environment several times works on a group."""
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(serving(make_hash_chain, name=f"n.{number}"))
        envs = gymnasium.vector.SyncVectorEnv(
            [lambda: rlay.ClientEnv("n.*") for _ in range(3)]
        )
        observations, _ = envs.reset(seed=5)
        expected = [make_hash_chain().reset(seed=5 + lane)[0] for lane in range(3)]
        np.testing.assert_array_equal(observations, expected)
        envs.close()


# ------------------------------------------------------------------------- busy names


def test_busy_client_end_held_by_this_process_says_where():
    """A second client of this process fails at once, and is led to the first."""
    with (
        serving(HashChainEnv, name="x", sessions=None),
        rlay.ClientEnv("x"),
        pytest.raises(rlay.ChannelBusy, match=r"test_client_env\.py:\d+"),
    ):
        rlay.ClientEnv("x", connect_timeout=None)


def test_busy_server_end_held_by_this_process_says_where():
    """So does a second backend of the name."""
    with (
        serving(HashChainEnv, name="x", sessions=None),
        pytest.raises(rlay.ChannelBusy, match=r"threads\.py:\d+"),
    ):
        rlay.ServerBackend(HashChainEnv, name="x").open()
