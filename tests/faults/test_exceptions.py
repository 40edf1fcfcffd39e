"""The environment raises: rows A14 and A16.

What crosses is the type's name, the message and the traceback, as text of limited
length. The environment stays usable.
"""

import time
from typing import Any

import pytest

import rlay
from tests.faults.stage import LIMIT_S, Player, Stage, Within, count, holder
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

TOLD_S = 0.1
MESSAGE_BYTES = 8 * 1024
TRACEBACK_BYTES = 64 * 1024
TYPE_BYTES = 200
SOON_S = 2.0
"""A backend that cannot make its environment tells clients, then it ends."""


@pytest.mark.parametrize("method", ["step", "reset", "render"])
def test_a14_exception(stage: Stage, within: Within, method: str):
    """A14: an exception arrives with type, message and traceback; then all goes on."""
    fault = [method, 2, "raise", "ValueError", "unlucky"]
    env, _ = stage.pair([fault], render_mode="rgb_array")
    player = Player(env)
    player.play(seed=1, steps=1)
    env.render()
    calls: dict[str, Any] = {
        "step": player.step,
        "reset": lambda: player.reset(2),
        "render": env.render,
    }
    began = time.monotonic()
    with pytest.raises(rlay.RemoteEnvError) as caught:
        calls[method]()
    within(TOLD_S, time.monotonic() - began)
    error = caught.value
    assert (error.remote_type, error.remote_message) == ("ValueError", "unlucky")
    assert "chains.py" in error.remote_traceback
    assert f"in {method}" in error.remote_traceback
    assert "ValueError: unlucky" in str(error)
    player.play(seed=3, steps=5)
    env.render()


def test_a14_exception_step_without_reset(stage: Stage):
    """A14: after a step that raised, the environment is as that left it: step again."""
    env, child = stage.pair([["step", 2, "raise", "ValueError", "unlucky"]])
    player = Player(env)
    player.play(seed=1, steps=1)
    with pytest.raises(rlay.RemoteEnvError):
        env.step(7)
    player.step()  # the step that raised had not changed the chain
    player.step()
    assert count(child, "reset 1 begins") == 1
    assert "reset 2 begins" not in child.stdout


def test_a14_exception_in_every_step(stage: Stage):
    """A14: an environment that raises each time is told each time."""
    env, child = stage.pair([["step", 0, "raise", "ValueError", "again"]])
    player = Player(env)
    for seed in range(5):
        player.reset(seed)
        with pytest.raises(rlay.RemoteEnvError, match="again"):
            player.step()
    assert count(child, "step 5 begins") == 1


def test_a14_exception_in_close(stage: Stage):
    """A14: what close() raises is its own process's news; no file is left behind."""
    child = stage.environment(
        [["close", 1, "raise", "ValueError", "stuck"]], forever=False, sessions=1
    )
    env = stage.algorithm()
    Player(env).play(seed=1, steps=1)
    env.close()
    child.wait(exit_code=1)
    assert "ValueError: stuck" in child.stderr
    assert stage.entries() == []


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a14_exception_in_init_reaches_the_waiting_client(stage: Stage, within: Within):
    """A14: a client that waits is told why there is no environment; exit code 1."""
    child = stage.environment(
        [
            ["init", 1, "sleep", 0.5],
            ["init", 1, "raise", "ValueError", "no such level"],
        ],
        forever=False,
    )
    with pytest.raises(rlay.RemoteEnvError) as caught:
        stage.algorithm()
    assert caught.value.remote_type == "ValueError"
    assert caught.value.remote_message == "no such level"
    assert "in __init__" in caught.value.remote_traceback
    began = time.monotonic()
    child.wait(exit_code=1)
    within(SOON_S, time.monotonic() - began)
    assert "no such level" in child.stderr
    assert stage.entries() == []


@pytest.mark.parametrize("stage", ["ClientEnv"], indirect=True)
def test_a14_exception_in_init_without_clients(stage: Stage):
    """A14: without a client the backend ends by itself, and leaves nothing."""
    child = stage.environment(
        [["init", 1, "raise", "ValueError", "no such level"]], forever=False
    )
    child.wait(exit_code=1)
    assert stage.entries() == []


@pytest.mark.parametrize("stage", ["ServerEnv"], indirect=True)
def test_a14_exception_in_init_of_a_game(stage: Stage):
    """A14: a game that cannot start never joins; the trainer says whom it waits for."""
    child = stage.environment(
        [["init", 1, "raise", "ValueError", "no such level"]], forever=False
    )
    env = stage.algorithm(connect_timeout=1.0)
    with pytest.raises(rlay.ConnectTimeout, match=r"ClientBackend\(name='fault'\)"):
        env.reset()
    child.wait(exit_code=1)
    stage.environment()
    wait_until(lambda: holder("client"), LIMIT_S)
    Player(env).play(seed=1, steps=2)


NASTY = {
    "unpicklable": ("UnpicklableError", "holds a lock"),
    "unprintable": ("UnprintableError", "its text cannot be had"),
    "textless": ("TextlessError", "its text cannot be had"),
    "huge": ("ValueError", "xxxxxxxx"),
    "surrogates": ("ValueError", r"lone \ud800, at the end \udfff"),
    "long name": ("NNNNNNNN", "has a long name"),
    "odd name": ("Na\nme", "has an odd name"),
    "chain": ("Exception", "the first of many"),
    "group": ("ExceptionGroup", "two (2 sub-exceptions)"),
    "recursion": ("RecursionError", "maximum recursion depth exceeded"),
    "memory": ("MemoryError", "as if there were none"),
    "connection": ("ConnectionResetError", "its own connection"),
    "StopIteration": ("StopIteration", ""),
}


@pytest.mark.parametrize("method", ["step", "reset"])
def test_a16_nasty_exceptions(stage: Stage, method: str):
    """A16: each arrives as text of bounded length, and the next call is right."""
    # Of two calls of the method the first is sound, the second raises.
    plan = [[method, 2 * index + 2, "raise", name] for index, name in enumerate(NASTY)]
    env, _ = stage.pair(plan)
    player = Player(env)
    for seed, (name, (kind, text)) in enumerate(NASTY.items()):
        player.play(seed, steps=1)
        with pytest.raises(rlay.RemoteEnvError) as caught:
            player.step() if method == "step" else player.reset(seed)
        error = caught.value
        assert error.remote_type.startswith(kind), name
        assert text in error.remote_message, name
        assert "chains.py" in error.remote_traceback or name == "huge"
        for part, limit in (
            (error.remote_type, TYPE_BYTES),
            (error.remote_message, MESSAGE_BYTES),
            (error.remote_traceback, TRACEBACK_BYTES),
        ):
            assert len(part.encode()) <= limit, name
    player.play(seed=99, steps=3)


def test_a16_failure_larger_than_the_message_limit(stage: Stage):
    """A16: a traceback beyond max_message_bytes becomes a shorter failure."""
    limit = MESSAGE_BYTES + TRACEBACK_BYTES - 1024
    stage.environment([["step", 2, "raise", "huge"]], max_message_bytes=limit)
    player = Player(stage.algorithm())
    player.play(seed=1, steps=1)
    with pytest.raises(rlay.MessageTooLarge) as caught:
        player.step()
    assert caught.value.limit_bytes == limit
    assert caught.value.size_bytes > limit
    player.play(seed=3, steps=3)
