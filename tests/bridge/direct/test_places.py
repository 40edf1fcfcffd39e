"""Either end, of either paradigm, attaches to a bridge; or both do."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from gymnasium.vector import SyncVectorEnv

import rlay
from tests.envs.test_server_vector_env import in_the_spaces_own_types
from tests.faults.stage import LIMIT_S
from tests.support.equality import assert_identical
from tests.support.threads import playing, serving
from tests.support.vectors import MODES, Lane, drive

NUM_ENVS = 3


def test_steps_are_those_in_process(stage):
    """Each result is that of this very step, over resets and clients."""
    stage.listen()
    stage.environment()
    for seed in (1, 2):
        player = stage.player()
        player.play(seed, 20)
        player.play(seed + 10, 20)
        player.env.close()


def test_steps_through_a_second_bridge_are_those_in_process(stage):
    """The other end is on another machine, behind its own bridge or attached to it."""
    stage.connect_machines()
    stage.environment()
    player = stage.player()
    player.play(1, 20)
    player.play(2, 20)


def test_render_and_remote_attributes_pass(stage):
    """What is not a step passes too."""
    stage.listen()
    stage.environment(allow=["resets"])
    env = stage.algorithm()
    env.reset(seed=1)
    assert env.render().shape == (2, 2, 3)
    assert env.get_wrapper_attr("resets") == 1


def expected_batch(mode):
    """Return what Gymnasium's own vector environment does."""
    local = SyncVectorEnv([Lane] * NUM_ENVS, autoreset_mode=mode)
    with contextlib.closing(local):
        return drive(local, extra_reset_at=17)


def driven(stage, serves, environments, mode):
    """Return a vector environment, closed, and what it did when it was driven.

    Args:
        stage: Where the two ends are.
        serves: Of ``tests.support.threads``, for the environments' end.
        environments: The class of the algorithm's end.
        mode: Of autoreset.
    """
    directory = stage.near.directory
    name = stage.place("environment")
    with serves(Lane, name=name, num_envs=NUM_ENVS, directory=directory):
        envs = environments(
            stage.place("algorithm"),
            num_envs=NUM_ENVS,
            autoreset_mode=mode,
            directory=directory,
            connect_timeout=LIMIT_S,
        )
        with contextlib.closing(envs):
            return envs, drive(envs, extra_reset_at=17)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_client_vector_env_is_gymnasiums_own(stage_of_vectors, mode):
    """A batch over one channel, in every autoreset mode."""
    _, actual = driven(stage_of_vectors, serving, rlay.ClientVectorEnv, mode)
    for (call, one), (_, other) in zip(actual, expected_batch(mode), strict=True):
        assert_identical(one, other, call)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_server_vector_env_is_gymnasiums_own(stage_of_vectors, mode):
    """A game with several lanes asks, in every autoreset mode."""
    envs, actual = driven(stage_of_vectors, playing, rlay.ServerVectorEnv, mode)
    for (call, one), (_, other) in zip(actual, expected_batch(mode), strict=True):
        assert_identical(one, in_the_spaces_own_types(envs, other), call)


def serve_group(stage, count):
    """Serve the members of a group, each in a thread of its own."""
    stack = contextlib.ExitStack()
    for number in range(count):
        stack.enter_context(
            serving(
                "CartPole-v1",
                name=stage.place("environment", f"cart.{number}"),
                directory=stage.near.directory,
                sessions=None,
            )
        )
    return stack


def test_group_gives_each_client_a_channel_of_its_own(stage_of_vectors):
    """In order, the first that is free."""
    stage = stage_of_vectors
    with serve_group(stage, 2), contextlib.ExitStack() as open_envs:
        for _ in range(2):
            env = rlay.ClientEnv(
                stage.place("algorithm", "cart.*"),
                directory=stage.near.directory,
                connect_timeout=LIMIT_S,
            )
            open_envs.callback(env.close)
            env.reset(seed=1)
            env.step(0)


def test_group_with_no_free_channel_is_busy(stage_of_vectors):
    """And not a wait for the whole of the time-out."""
    stage = stage_of_vectors
    name = stage.place("algorithm", "cart.*")
    with serve_group(stage, 1), contextlib.ExitStack() as open_envs:
        options = {"directory": stage.near.directory, "connect_timeout": LIMIT_S}
        open_envs.callback(rlay.ClientEnv(name, **options).close)
        with pytest.raises(rlay.ChannelBusy):
            rlay.ClientEnv(name, **options)


def test_group_of_which_a_channel_is_free_again(stage_of_vectors):
    """A client that left makes room for the next one."""
    stage = stage_of_vectors
    name = stage.place("algorithm", "cart.*")
    options = {"directory": stage.near.directory, "connect_timeout": LIMIT_S}
    with serve_group(stage, 1):
        for _ in range(3):
            with contextlib.closing(rlay.ClientEnv(name, **options)) as env:
                env.reset(seed=1)


def test_clients_of_a_group_attach_at_once(stage_of_vectors):
    """Several at the same time get different channels."""
    stage = stage_of_vectors
    count = 4
    with serve_group(stage, count), ThreadPoolExecutor(count) as threads:
        attach = lambda _: rlay.ClientEnv(  # noqa: E731
            stage.place("algorithm", "cart.*"),
            directory=stage.near.directory,
            connect_timeout=LIMIT_S,
        )
        envs = list(threads.map(attach, range(count)))
        for env in envs:
            env.reset(seed=1)
        for env in envs:
            env.close()
