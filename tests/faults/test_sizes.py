"""Messages at the edge of the slot, and beyond every limit, both ways: row B21.

A message that fits goes in one part, one byte more goes in two. What exceeds
``max_message_bytes`` raises MessageTooLarge before anything is sent, at whichever end
would send it; the environment goes on.
"""

from typing import Any

import numpy as np
import pytest

import rlay
from rlay.protocol.values import encode_value
from tests.faults.payloads import FRAME_BYTES, SPACES, echo
from tests.faults.stage import Stage
from tests.support.equality import assert_identical

pytestmark = pytest.mark.timeout(60)

LIMIT_BYTES = FRAME_BYTES
"""``max_message_bytes`` of the backends that have one: three slots full."""


def start(stage: Stage, kind: str, **options: Any) -> Any:
    """Start the echo in a child and return the algorithm's environment."""
    stage.children.start(echo, stage.paradigm, kind, options, forever=True)
    return stage.algorithm()


def room(env: Any, direction: str) -> int:
    """Return how many bytes of payload fit into one message."""
    buffers = getattr(env.unwrapped._link.channel, direction)
    return len(buffers[0].payload)


@pytest.mark.parametrize("beyond", range(-2, 3))
def test_b21_reply_at_the_edge_of_the_slot(stage: Stage, beyond: int):
    """B21: a transition that fills the slot exactly, and a byte or two off it."""
    env = start(stage, "number")
    env.reset()
    info = {"padding": b""}
    items = [None, None, [info], None, None, None]
    fixed = 4 * 8
    padding = room(env, "incoming") - fixed - len(encode_value(items)) + beyond
    padding -= 3  # a longer byte string has a longer header
    items[2] = [{"padding": bytes(padding)}]
    assert fixed + len(encode_value(items)) == room(env, "incoming") + beyond
    env.reset(options={"step_bytes": padding})
    action = np.array([1.0, 2.0, 3.0, 4.0])
    for _ in range(3):
        observation, *_, step_info = env.step(action)
        assert_identical(observation, action)
        assert step_info == {"padding": bytes(padding)}


@pytest.mark.parametrize("beyond", range(-2, 3))
def test_b21_request_at_the_edge_of_the_slot(stage: Stage, beyond: int):
    """B21: an action that fills the slot exactly, and a byte or two off it."""
    env = start(stage, "number")
    env.reset()
    # A step's tail: no variable parts, the action as a value, no reset mask.
    size = room(env, "outgoing") + beyond
    length = size - len(encode_value([None, [bytes(0)], None])) - 3
    action = bytes(index % 251 for index in range(length))
    assert len(encode_value([None, [action], None])) == size
    # Bytes are in no space: the environment gets them, and its answer is refused.
    with pytest.raises(rlay.SpaceMismatch):
        env.step(action)
    observation, _ = env.reset(seed=1)
    assert_identical(env.step(observation)[0], observation)


@pytest.mark.parametrize("kind", ["empty", "empty dict"])
def test_b21_nothing(stage: Stage, kind: str):
    """B21: observations and actions of no bytes at all."""
    env = start(stage, kind)
    space = SPACES[kind]
    first, _ = env.reset(seed=1)
    assert first in space
    for _ in range(3):
        action = space.sample()
        assert_identical(env.step(action)[0], action)


def test_b21_empty_text_and_sequence(stage: Stage):
    """B21: variable values of no length."""
    env = start(stage, "sequence")
    env.reset(seed=1)
    assert_identical(env.step(())[0], ())


@pytest.mark.parametrize("count", [0, 1, 65, 66, 1000])
def test_b21_large_observation_and_action(stage: Stage, count: int):
    """B21: a Sequence far beyond the slot goes there and back in parts."""
    env = start(stage, "sequence")
    env.reset(seed=1)
    rng = np.random.default_rng(count)
    action = tuple(
        rng.integers(0, 256, 1000, dtype=np.uint8, endpoint=False) for _ in range(count)
    )
    assert_identical(env.step(action)[0], action)


def test_b21_large_text(stage: Stage):
    """B21: so does a Text."""
    env = start(stage, "text")
    env.reset(seed=1)
    text = "ab" * 1_000_000
    assert env.step(text)[0] == text


def test_b21_action_over_the_limit(stage: Stage):
    """B21: MessageTooLarge at the algorithm's end, nothing sent; then all goes on."""
    env = start(stage, "text", max_message_bytes=LIMIT_BYTES)
    env.reset(seed=1)
    for _ in range(3):
        with pytest.raises(rlay.MessageTooLarge) as caught:
            env.step("a" * LIMIT_BYTES)
        assert caught.value.limit_bytes == LIMIT_BYTES
        assert caught.value.size_bytes > LIMIT_BYTES
        assert env.step("ab")[0] == "ab"
    child = stage.children.started[0]
    assert child.stdout.splitlines().count("step") == 3
    env.reset(seed=1)


def test_b21_options_over_the_limit(stage: Stage):
    """B21: options that are too large are refused like actions; reset works next."""
    env = start(stage, "number", max_message_bytes=LIMIT_BYTES)
    with pytest.raises(rlay.MessageTooLarge):
        env.reset(options={"map": bytes(LIMIT_BYTES)})
    first, _ = env.reset(seed=1)
    with pytest.raises(rlay.MessageTooLarge):
        env.reset(options={"map": bytes(LIMIT_BYTES)})
    assert_identical(env.step(first)[0], first)
    assert "reset with ['map']" not in stage.children.started[0].stdout


def test_b21_observation_over_the_limit(stage: Stage):
    """B21: the environment's end refuses to send it; MessageTooLarge tells of it."""
    env = start(stage, "text", max_message_bytes=LIMIT_BYTES)
    env.reset(options={"step_bytes": LIMIT_BYTES // 2})
    with pytest.raises(rlay.MessageTooLarge) as caught:
        env.step("a" * (LIMIT_BYTES // 2))
    assert caught.value.limit_bytes == LIMIT_BYTES
    assert caught.value.size_bytes > LIMIT_BYTES
    assert env.step("ab")[0] == "ab"


@pytest.mark.parametrize("what", ["step", "reset"])
def test_b21_info_over_the_limit(stage: Stage, what: str):
    """B21: an info that is too large, of a step and of a reset."""
    env = start(stage, "number", max_message_bytes=LIMIT_BYTES)
    first, _ = env.reset(seed=1)
    options = {f"{what}_bytes": LIMIT_BYTES}
    if what == "reset":
        with pytest.raises(rlay.MessageTooLarge):
            env.reset(options=options)
    else:
        env.reset(options=options)
        with pytest.raises(rlay.MessageTooLarge):
            env.step(first)
    env.reset(seed=2)
    assert_identical(env.step(first)[0], first)


def test_b21_frame_over_the_limit(stage: Stage):
    """B21: what a call returns may be too large as well."""
    env = start(stage, "number", max_message_bytes=LIMIT_BYTES)
    first, _ = env.reset(seed=1)
    with pytest.raises(rlay.MessageTooLarge):
        env.render()
    assert_identical(env.step(first)[0], first)
