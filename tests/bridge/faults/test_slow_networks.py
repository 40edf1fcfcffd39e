"""Rows C6, C9, C10: networks and peers that are slow."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.testing.environments import EchoEnv
from tests.faults.stage import LIMIT_S
from tests.support.channels import say
from tests.support.waiting import wait_until

LARGE = spaces.Box(0, 255, (16_000_000,), np.uint8)


def serve_large():
    """Serve an environment with large observations: the child's main function."""
    with rlay.ServerBackend(lambda: EchoEnv(LARGE), name="large") as backend:
        say("serving")
        backend.run()


@pytest.fixture
def large(stage):
    """Start the environment with large observations; return its client's maker."""
    child = stage.children.start(
        serve_large, forever=True, env={"RLAY_DIR": str(stage.far.directory)}
    )
    stage.processes.append(child)
    clients = []

    def connect():
        env = rlay.ClientEnv(
            "large", directory=stage.near.directory, connect_timeout=LIMIT_S
        )
        clients.append(env)
        return env

    yield connect
    for env in clients:
        env.close()


def anonymous_bytes(bridge):
    """Return how much memory of its own a bridge has, slots not counted."""
    with open(f"/proc/{bridge.running.pid}/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@pytest.mark.parametrize(
    ("network", "steps"),
    [
        ({"latency_s": 0.2, "jitter_s": 0.1}, 4),
        ({"bytes_per_s": 7000}, 10),
        ({"segment_bytes": 1}, 20),
    ],
    ids=["200 ms", "56 kbit/s", "1-byte segments"],
)
def test_c6_slow_network(stage_of_either, network, steps):
    """The chain is whole, and nothing gives up."""
    stage_of_either.connect()
    stage_of_either.proxy.degrade(**network)
    stage_of_either.environment()
    stage_of_either.player().play(seed=1, steps=steps)
    assert stage_of_either.proxy.connections == 1


def test_c9_peer_that_does_not_read(stage, large):
    """It is given up as slow, nothing piles up, and afterwards all goes on."""
    stage.far.oddity = "set:link:WRITE_STALL_S:3"
    player, _ = stage.playing(heartbeat_s=0.3, dead_after_s=30)
    env = large()
    env.reset(seed=1)
    before = anonymous_bytes(stage.far)
    stage.proxy.blackhole("to_dialer")
    action = LARGE.sample()
    results = []
    stepping = threading.Thread(target=lambda: results.append(env.step(action)))
    stepping.start()
    stage.far.wait_until_logged("has read nothing for 3 s")
    assert anonymous_bytes(stage.far) - before < 8_000_000
    stage.proxy.heal()
    player.step()
    stepping.join(LIMIT_S)
    assert np.array_equal(results[0][0], action)


def test_c9_link_that_hangs_leaves_other_links_alone(stage):
    """A hub with two algorithms: the one beside a black hole is not waited for."""
    player, _ = stage.playing()
    stage.environment(name="other")
    third = stage.add_bridge("third")
    third.start(connect=[f"127.0.0.1:{stage.far.port()}"])
    other = stage.player("other", directory=str(third.directory))
    other.reset(seed=2)
    stage.proxy.blackhole()
    with ThreadPoolExecutor(1) as threads:
        step = threads.submit(player.step)
        for _ in range(50):
            other.step()
        assert not step.done()
        stage.proxy.heal()
        step.result(LIMIT_S)


def test_c10_small_messages_pass_a_large_one(stage, large):
    """While one observation of 16 MB is on its way, small steps come and go."""
    player, _ = stage.playing()
    env = large()
    env.reset(seed=1)
    stage.proxy.degrade("to_dialer", bytes_per_s=4_000_000)
    stepping = threading.Thread(target=env.step, args=(LARGE.sample(),))
    before = stage.proxy.delivered_bytes("to_dialer")
    stepping.start()
    wait_until(
        lambda: stage.proxy.delivered_bytes("to_dialer") >= before + 1_000_000, LIMIT_S
    )
    player.step()
    assert stepping.is_alive()
    stage.proxy.heal()
    stepping.join(LIMIT_S)
    assert not stepping.is_alive()
