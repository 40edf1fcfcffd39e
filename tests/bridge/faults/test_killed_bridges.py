"""Rows A7 to A10: bridges that are killed, at any instant and at each point."""

import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.bridge.fault_points import POINTS
from rlay.testing.environments import EchoEnv
from tests.faults.stage import LIMIT_S, NAME, Player
from tests.support.bridged import FAST, stepping, wait_for_progress
from tests.support.channels import say
from tests.support.long import LONG

INSTANTS = 50 if LONG else 3
PAUSES_S = [0, 2]
"""Half a minute is in test_half_minutes.py."""
SIDES = ["near", "far"]


def sides(stage, which):
    """Return the bridges that are meant by "near", "far" or "both"."""
    return [getattr(stage, side) for side in (SIDES if which == "both" else [which])]


# -------------------------------------------------------------------------- A7, A8, A9


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pause_s", PAUSES_S)
@pytest.mark.parametrize("which", ["near", "far", "both"])
def test_a7_a8_a9_killed_at_any_instant(stage_of_either, within, which, pause_s):
    """Steps go on within 3 s of the restart, each with its own result."""
    stage = stage_of_either
    player, _ = stage.playing()
    chance = random.Random(which)
    took = []
    with stepping(player) as progress:
        for _ in range(INSTANTS if pause_s == 0 else 1):
            time.sleep(chance.uniform(0, 0.05))
            for bridge in sides(stage, which):
                bridge.kill()
            time.sleep(pause_s)
            for bridge in sides(stage, which):
                bridge.start()
            begin = time.monotonic()
            wait_for_progress(progress)
            took.append(time.monotonic() - begin)
    within(3, statistics.median(took))


# Which bridge comes to a point: the one beside the server of the channel (its origin),
# or the one that mirrors it.
EITHER = [
    "message.queued", "message.sent", "message.placed", "message.published",
    "message.rung",
]  # fmt: skip
STEPPING_POINTS = {
    "origin": [*EITHER, "resume.heard", "resumed.sent"],
    "mirror": [*EITHER, "resume.sent", "resumed.heard"],
}
OPENING_POINTS = {
    "hello.opened": "origin", "hello.said": "origin", "welcome.read": "origin",
    "opened.sent": "origin", "hello.seen": "mirror", "open.sent": "mirror",
    "slots.made": "mirror", "welcome.said": "mirror",
}  # fmt: skip
TAKEN_POINTS = ["taken.told", "taken.heard", "taken.marked"]
PIECE_POINTS = ["piece.sent", "piece.placed"]


def bridge_of(stage, role):
    """Return the bridge that has a role: a ServerEnv is the server of its channel."""
    origin_is_near = stage.paradigm == "ServerEnv"
    return stage.near if origin_is_near == (role == "origin") else stage.far


def restart_dying(bridge, point):
    """Start a bridge's successor, which dies at a point."""
    bridge.kill()
    return bridge.start(crash_at=point)


def test_a9_every_point_has_its_test():
    """None was added to the bridge, or forgotten here."""
    forced = {point for points in STEPPING_POINTS.values() for point in points}
    forced |= {*OPENING_POINTS, *TAKEN_POINTS, *PIECE_POINTS, "mirror.made"}
    assert forced | {"close.heard", "withdraw.heard"} == set(POINTS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", STEPPING_POINTS)
def test_a9_killed_at_each_point_of_a_step(stage_of_either, role):
    """Whatever is half done there is neither lost nor done twice."""
    stage = stage_of_either
    bridge = bridge_of(stage, role)
    player, _ = stage.playing(dialer=bridge.side)  # it dials again at once
    with stepping(player) as progress:
        for point in STEPPING_POINTS[role]:
            # The third time: the first may be what its predecessor left undone.
            times = "" if "resume" in point else ":3"
            restart_dying(bridge, point + times).wait(exit_code=-9)
            bridge.start()
            wait_for_progress(progress)


BLOB = bytes(range(256)) * 1600
"""As options of a reset, and in its info: seven parts there, and as many back."""


def play_echo(paradigm):
    """Echo the options of resets, at either end: the child's main function."""
    env = EchoEnv(spaces.Discrete(2))
    if paradigm == "ClientEnv":
        with rlay.ServerBackend(env, name=NAME) as backend:
            say("serving")
            backend.run()
    else:
        rlay.ClientBackend(env, name=NAME, connect_timeout=LIMIT_S).run()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("role", STEPPING_POINTS)
def test_a9_killed_while_a_writer_waits_for_a_taking(stage_of_either, role):
    """A message in parts goes on with the next one, and is whole at the end.

    In lock step an answer implies the taking: only between parts is it told.
    """
    stage = stage_of_either
    bridge = bridge_of(stage, role)
    stage.connect(dialer=bridge.side)
    variables = {"RLAY_DIR": str(stage.far.directory)}
    child = stage.children.start(play_echo, stage.paradigm, forever=True, env=variables)
    stage.processes.append(child)
    env = stage.algorithm()
    env.reset(seed=1)
    for number, point in enumerate(TAKEN_POINTS):
        dying = restart_dying(bridge, point + ":2")
        with ThreadPoolExecutor(1) as threads:
            reset = threads.submit(env.reset, options={"blob": BLOB, "n": number})
            dying.wait(exit_code=-9)
            bridge.start()
            _, info = reset.result(LIMIT_S)
        assert info["options"] == {"blob": BLOB, "n": number}


@pytest.mark.timeout(300)
def test_a9_killed_at_each_point_of_a_greeting(stage):
    """A client that waits for its answer gets one, from the bridge's successor."""
    stage.connect()
    stage.environment()
    for point, role in OPENING_POINTS.items():
        bridge = bridge_of(stage, role)
        dying = restart_dying(bridge, point)
        with ThreadPoolExecutor(1) as threads:
            greeting = threads.submit(stage.player)
            dying.wait(exit_code=-9)
            bridge.start()
            player = greeting.result(LIMIT_S)
        player.play(seed=1, steps=2)
        player.env.close()


def test_a9_killed_before_a_new_mirror_is_attached(stage):
    """Its successor takes the channel over, or makes it anew."""
    stage.connect()
    dying = restart_dying(stage.near, "mirror.made")
    stage.environment()
    dying.wait(exit_code=-9)
    stage.near.start()
    stage.player().play(seed=1, steps=2)


LARGE = spaces.Box(0, 255, (1_500_000,), np.uint8)
"""Six pieces in both directions: more than go in one system call."""


def serve_large():
    """Serve an environment with large messages: the child's main function."""
    with rlay.ServerBackend(lambda: EchoEnv(LARGE), name=NAME) as backend:
        say("serving")
        backend.run()


@pytest.mark.timeout(180)
def test_a9_killed_between_the_pieces_of_a_message(stage):
    """The whole message arrives, and the right one."""
    stage.connect()
    variables = {"RLAY_DIR": str(stage.far.directory)}
    child = stage.children.start(serve_large, forever=True, env=variables)
    stage.processes.append(child)
    env = stage.algorithm()
    env.reset(seed=1)
    for side in SIDES:
        for point in PIECE_POINTS:
            (bridge,) = sides(stage, side)
            dying = restart_dying(bridge, point)
            action = LARGE.sample()
            with ThreadPoolExecutor(1) as threads:
                step = threads.submit(env.step, action)
                dying.wait(exit_code=-9)
                bridge.start()
                observation, *_ = step.result(LIMIT_S)
            assert np.array_equal(observation, action)


def test_a9_killed_while_the_client_leaves(stage):
    """The environment is free for the next client."""
    player, _ = stage.playing()
    dying = restart_dying(stage.far, "close.heard")
    player.step()
    player.env.close()
    dying.wait(exit_code=-9)
    stage.far.start()
    stage.player().play(seed=2, steps=3)


def test_a9_killed_while_the_environment_leaves(stage):
    """The client hears of it from the bridge's successor."""
    player, chain = stage.playing()
    dying = restart_dying(stage.near, "withdraw.heard")
    player.step()
    chain.end()
    dying.wait(exit_code=-9)
    stage.near.start()
    with pytest.raises(rlay.EnvLost):
        player.step()


# --------------------------------------------------------------------------------- A10


def test_a10_far_bridge_gone_for_longer_than_the_window(stage, within):
    """LinkDown, then a new episode over the bridge that is started at last."""
    player, _ = stage.playing(resume_window_s=1, **FAST)
    stage.far.kill()
    begin = time.monotonic()
    with pytest.raises(rlay.LinkDown):
        player.step()
    within(1, time.monotonic() - begin)
    stage.far.start()
    player.play(seed=2, steps=3)


def test_a10_near_bridge_gone_for_longer_than_the_window(stage, within, monkeypatch):
    """Nobody is left to say it but the client itself, by its own window."""
    monkeypatch.setenv("RLAY_RESUME_WINDOW_S", "1")
    player, _ = stage.playing(resume_window_s=1, **FAST)
    stage.near.kill()
    begin = time.monotonic()
    with pytest.raises(rlay.LinkDown):
        player.step()
    within(1, time.monotonic() - begin)
    stage.near.start()
    player.play(seed=2, steps=3)


def test_a10_environment_is_released_when_no_bridge_comes_back(stage):
    """Its backend waits for the next client, on its own machine if one is there."""
    stage.environment(env={"RLAY_RESUME_WINDOW_S": "1"})
    stage.connect()
    player = stage.player(close_timeout=0.5)
    player.play(seed=1, steps=2)
    stage.far.kill()
    with pytest.raises(rlay.CloseTimeout):  # nobody can be told
        player.env.close()
    local = rlay.ClientEnv(NAME, directory=stage.far.directory, connect_timeout=LIMIT_S)
    try:
        Player(local).play(seed=2, steps=3)
    finally:
        local.close()
