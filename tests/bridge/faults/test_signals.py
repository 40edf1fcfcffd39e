"""Rows A12, A18, A19, A20, F3: bridges that are stopped, ended, told to reload."""

import contextlib
import os
import secrets
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from tests.bridge.faults.test_blackholes import runs
from tests.faults.chains import FaultyChain, say
from tests.faults.stage import LIMIT_S, NAME
from tests.support.bridged import FAST, later, stepping
from tests.support.waiting import wait_until

CHANNELS = 32
SLOW_STEP_S = 1.0
SLOW = [["step", 0, "sleep", SLOW_STEP_S]]


NAMES = [f"env.{number}" for number in range(CHANNELS)]
"""Channels that are used at the same time."""


def serve_slow(names):
    """Serve slow hash chains, all in one process: the child's main function."""
    with contextlib.ExitStack() as stack:
        threads = []
        for name in names:
            backend = stack.enter_context(
                rlay.ServerBackend(lambda: FaultyChain(SLOW), name=name)
            )
            threads.append(threading.Thread(target=backend.run, daemon=True))
            threads[-1].start()
        say("serving")
        for thread in threads:
            thread.join()


# --------------------------------------------------------------------------- A12 and F3


def test_a12_stopped_bridge_is_noticed_and_given_up(stage, within):
    """The kernel answers for it, but its heartbeats do not come: LinkDown."""
    player, _ = stage.playing(resume_window_s=1, **FAST)
    stage.far.running.send_signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        with pytest.raises(rlay.LinkDown):
            player.step()
        within(FAST["dead_after_s"] + 1, time.monotonic() - begin)
    finally:
        stage.far.running.send_signal(signal.SIGCONT)
    player.play(seed=2, steps=3)


def test_f3_everything_sleeps_and_wakes(stage_of_either):
    """Bridges and environment stand still for longer than death takes: it goes on."""
    stage = stage_of_either
    player, chain = stage.playing(**FAST)
    processes = [stage.near.running, stage.far.running, chain]
    with stepping(player) as progress:
        for child in processes:
            child.send_signal(signal.SIGSTOP)
        with later(2.5, lambda: None):
            pass
        for child in processes:
            child.send_signal(signal.SIGCONT)
        least = progress() + 3
        wait_until(lambda: progress() >= least)


# -------------------------------------------------------------------------- A18 and A19


@pytest.mark.parametrize("side", ["near", "far"])
def test_a18_sigterm_lets_requests_in_flight_be_answered(stage, side):
    """Each of 32 steps that had begun has its result, and nothing is left of it."""
    stage.connect()
    chains = stage.children.start(
        serve_slow, NAMES, forever=True, env={"RLAY_DIR": str(stage.far.directory)}
    )
    stage.processes.append(chains)
    players = [stage.player(name) for name in NAMES]
    for player in players:
        player.reset(seed=1)
    bridge = getattr(stage, side)
    with ThreadPoolExecutor(CHANNELS) as threads:
        steps = [threads.submit(player.step) for player in players]
        wait_until(lambda: runs(chains) == CHANNELS, LIMIT_S)
        bridge.running.send_signal(signal.SIGTERM)
        for step in steps:
            step.result(LIMIT_S)
    bridge.running.wait(exit_code=0)
    for player in players:
        with pytest.raises(rlay.EnvLost):
            player.step()
    assert runs(chains) == runs(chains, "ends") == CHANNELS
    if side == "near":
        assert os.listdir(stage.near.directory) == []


class Frames(gymnasium.Env):
    """Observations of 24 MB: far more than sockets keep."""

    def __init__(self):
        self.observation_space = spaces.Box(0, 255, (24_000_000,), np.uint8)
        self.action_space = spaces.Discrete(256)

    def reset(self, *, seed=None, options=None):
        return self.step(0)[0], {}

    def step(self, action):
        say(f"action {action}")
        frame = np.full((24_000_000,), action, np.uint8)
        return frame, 0.0, False, False, {}


def serve_frames():
    """Serve large frames: the child's main function."""
    with rlay.ServerBackend(Frames, name=NAME) as backend:
        say("serving")
        backend.run()


def test_a18_reply_that_is_on_its_way_arrives_whole(stage):
    """The environment is done with the step long before its frame is out."""
    stage.connect()
    child = stage.children.start(
        serve_frames, forever=True, env={"RLAY_DIR": str(stage.far.directory)}
    )
    stage.processes.append(child)
    env = stage.algorithm()
    env.reset(seed=1)
    stage.proxy.degrade("to_dialer", bytes_per_s=12_000_000)
    with ThreadPoolExecutor(1) as threads:
        step = threads.submit(env.step, 7)
        child.wait_until_printed("action 7")
        stage.far.running.send_signal(signal.SIGTERM)
        observation, *_ = step.result(LIMIT_S)
    assert (observation == 7).all()
    stage.far.running.wait(exit_code=0)


def test_a18_draining_bridge_takes_no_new_sessions(stage):
    """A client that comes while it drains is told so."""
    stage.connect()
    chain = stage.environment(SLOW)
    stage.environment(name="other")
    player = stage.player()
    player.reset(seed=1)
    stage.player("other").env.close()  # it can be reached
    with ThreadPoolExecutor(1) as threads:
        step = threads.submit(player.step)
        chain.wait_until_printed("step 1 begins")
        stage.far.running.send_signal(signal.SIGTERM)
        stage.far.wait_until_logged("draining")
        with pytest.raises(rlay.Draining):
            stage.player("other")
        step.result(LIMIT_S)
    stage.far.running.wait(exit_code=0)


@pytest.mark.parametrize("side", ["near", "far"])
def test_a19_second_sigterm_ends_it_at_once(stage, within, side):
    """The step that it does not wait for is lost, and that is said."""
    stage.connect()
    chain = stage.environment([["step", 0, "sleep", 5.0]])
    player = stage.player()
    player.reset(seed=1)
    bridge = getattr(stage, side)
    with ThreadPoolExecutor(1) as threads:
        step = threads.submit(player.step)
        chain.wait_until_printed("step 1 begins")
        bridge.running.send_signal(signal.SIGTERM)
        bridge.wait_until_logged("draining")
        bridge.running.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        bridge.running.wait(exit_code=0)
        within(0.5, time.monotonic() - begin)
        with pytest.raises(rlay.EnvLost):
            step.result(LIMIT_S)


@pytest.mark.parametrize("side", ["near", "far"])
def test_a19_killed_while_it_drains(stage, side):
    """Its successor finds what is left, and the step has its result."""
    stage.connect()
    chain = stage.environment(SLOW)
    player = stage.player()
    player.reset(seed=1)
    bridge = getattr(stage, side)
    with ThreadPoolExecutor(1) as threads:
        step = threads.submit(player.step)
        chain.wait_until_printed("step 1 begins")
        bridge.running.send_signal(signal.SIGTERM)
        bridge.wait_until_logged("draining")
        bridge.kill()
        bridge.start()
        step.result(LIMIT_S)


# --------------------------------------------------------------------------------- A20


def write_token(path):
    """Put a new token into a file that only we can read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32) + "\n")


def test_a20_sighup_takes_a_new_token_and_keeps_sessions(stage, tmp_path):
    """The session goes on over the old link, then over one with the new token."""
    token = tmp_path / "token"
    write_token(token)
    player, _ = stage.playing(token_file=token)
    write_token(token)
    stage.near.running.send_signal(signal.SIGHUP)
    stage.near.wait_until_logged("were read again")
    player.step()
    assert stage.proxy.connections == 1
    stage.proxy.cut()  # the listener still has the old one
    stage.far.wait_until_logged("refused")
    stage.far.running.send_signal(signal.SIGHUP)
    stage.far.wait_until_logged("were read again")
    player.step()


def test_a20_sighup_with_a_bad_token_keeps_the_old_one(stage, tmp_path):
    """It says so, and goes on."""
    token = tmp_path / "token"
    write_token(token)
    player, _ = stage.playing(token_file=token)
    old = token.read_text()
    token.write_text("short\n")
    stage.far.running.send_signal(signal.SIGHUP)
    stage.far.wait_until_logged("kept the old token")
    token.write_text(old)
    stage.proxy.cut()
    player.step()
