"""Rows D9 to D17: who may come in, and then says what it may not."""

import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.testing.environments import EchoEnv
from tests.faults.stage import LIMIT_S, NAME
from tests.support.channels import say

WIDE = spaces.Box(0, 255, (300_000,), np.uint8)


def serve_wide():
    """Serve an environment with observations of 300,000 bytes: a child's function."""
    with rlay.ServerBackend(lambda: EchoEnv(WIDE), name="wide") as backend:
        say("serving")
        backend.run()


# --------------------------------------------------------------------------------- D10


def test_d10_slots_beyond_the_limit_are_refused_with_the_remedy(stage):
    """The client learns which setting; other channels of that link go on."""
    stage.connect(max_slot_bytes=2**18)
    variables = {"RLAY_DIR": str(stage.far.directory)}
    child = stage.children.start(serve_wide, forever=True, env=variables)
    stage.processes.append(child)
    stage.environment()
    with pytest.raises(rlay.ChannelNoSpace, match="raise its --max-slot-bytes"):
        stage.algorithm("wide")
    stage.player(NAME).play(seed=1, steps=3)
    stage.near.kill()
    stage.near.options["max_slot_bytes"] = 2**20
    stage.near.start()
    env = stage.algorithm("wide", connect_timeout=LIMIT_S)
    assert env.reset(seed=1)[0].shape == WIDE.shape
