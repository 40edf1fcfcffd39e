"""Render modes, windows and collected frames."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.envs.display import Display, backend_mode, display_for
from rlay.testing.environments import ScriptedEnv
from tests.support.equality import assert_identical
from tests.support.threads import (
    LIMIT_S,
    client_env,
    serving,
    trainer,
)

pytestmark = pytest.mark.usefixtures("channel_directory")

OBSERVATIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
ACTIONS = spaces.Discrete(3)
SPACES: dict[str, Any] = {"observation_space": OBSERVATIONS, "action_space": ACTIONS}


@pytest.fixture
def dummy_screen(monkeypatch):
    """Let pygame open its windows nowhere."""
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")


def cart_frame() -> Any:
    with gymnasium.make("CartPole-v1", render_mode="rgb_array") as env:
        env.reset(seed=1)
        return env.render()


def test_render_id_without_a_mode_takes_the_clients(dummy_screen):
    """A backend of an id renders as each client asks, and its metadata says how."""
    with serving("CartPole-v1", name="x", sessions=2):
        with rlay.ClientEnv("x", render_mode="rgb_array") as env:
            assert env.render_mode == "rgb_array"
            assert "rgb_array" in env.metadata["render_modes"]
            env.reset(seed=1)
            assert_identical(env.render(), cart_frame())
        with rlay.ClientEnv("x") as env:
            assert env.render_mode is None


def test_render_mode_of_the_backend_counts(remote, dummy_screen):
    """A backend that fixes the mode is followed by who asks for none."""
    target = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    with remote(target) as env:
        assert env.render_mode == "rgb_array"
        env.reset(seed=1)
        assert_identical(env.render(), cart_frame())


def test_render_mode_mismatch_names_the_remedy():
    """A mode that cannot be had names both modes and what to serve instead."""
    with (
        serving(gymnasium.make("CartPole-v1"), name="x", sessions=None),
        pytest.raises(rlay.ChannelError, match="--render-mode rgb_array"),
    ):
        rlay.ClientEnv("x", render_mode="rgb_array")


def test_render_mode_mismatch_of_a_game_is_told_to_both():
    """A ServerEnv that wants frames refuses a game that has none, and waits on."""
    with trainer("x", render_mode="rgb_array") as algorithm:
        algorithm.reset(seed=1)
        with pytest.raises(rlay.ChannelError, match="render_mode=None"):
            rlay.ClientBackend(name="x", connect_timeout=LIMIT_S, **SPACES)
        with rlay.ClientBackend(
            name="x", connect_timeout=LIMIT_S, render_mode="rgb_array", **SPACES
        ) as right:
            assert right.decide() == rlay.Reset(1, None)


def test_render_human_over_an_rgb_array_backend_opens_a_window(remote, dummy_screen):
    """Frames are fetched and shown here; render() returns None, as human does."""
    import pygame

    frame = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    target = ScriptedEnv(
        render_mode="rgb_array",
        render_fn=lambda env: frame + np.uint8(env.steps),
        metadata={"render_modes": ["rgb_array"], "render_fps": 1000},
    )
    with remote(target, ours={"render_mode": "human"}) as env:
        assert env.render_mode == "human"
        env.reset(seed=1)
        for _ in range(3):
            env.step(0)
        assert env.render() is None
        window = pygame.display.get_surface()
        assert window is not None
        shown = pygame.surfarray.array3d(window).transpose(1, 0, 2)
        assert_identical(shown, frame + np.uint8(3))
    assert not pygame.display.get_init()


def test_render_rgb_array_list_is_collected_here(remote, dummy_screen):
    """One frame per step since the last render(), as Gymnasium's RenderCollection."""
    target = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    with remote(target, ours={"render_mode": "rgb_array_list"}) as env:
        assert env.render_mode == "rgb_array_list"
        env.reset(seed=1)
        env.step(0)
        env.step(1)
        frames = env.render()
        assert len(frames) == 3
        assert_identical(frames[0], cart_frame())
        assert env.render() == []
        env.step(0)
        assert len(env.render()) == 1


def test_render_list_asked_of_an_id_makes_it_render_arrays(dummy_screen):
    """rgb_array_list of a backend that may choose: it renders, the client collects."""
    with client_env("CartPole-v1", ours={"render_mode": "rgb_array_list"}) as env:
        env.reset(seed=1)
        assert_identical(env.render(), [cart_frame()])


def test_render_collected_with_views_leaves_the_last_observation_alone(remote):
    """copy=False and a frame per step: the observation is a copy, and stays."""
    target = ScriptedEnv(
        render_mode="rgb_array", render_fn=lambda env: np.zeros((2, 2, 3), np.uint8)
    )
    options = {"render_mode": "rgb_array_list", "copy": False}
    with remote(target, ours=options) as env:
        env.reset(seed=1)
        first = env.step(0)[0]
        kept = first.copy()
        env.step(0)
        np.testing.assert_array_equal(first, kept)


# ---------------------------------------------------------------- which from which


@pytest.mark.parametrize(
    ("wanted", "remote_mode", "how"),
    [
        (None, None, None),
        (None, "rgb_array", None),
        ("rgb_array", "rgb_array", None),
        ("human", "human", None),
        ("ansi", "ansi", None),
        ("rgb_array_list", "rgb_array", "Display"),
        ("ansi_list", "ansi", "Display"),
        ("human", "rgb_array", "Display"),
        ("rgb_array", None, "error"),
        ("rgb_array", "human", "error"),
        ("human", None, "error"),
        ("human", "ansi", "error"),
        ("rgb_array_list", "human", "error"),
        ("rgb_array_list", None, "error"),
    ],
)
def test_display_is_made_where_one_mode_can_be_had_from_the_other(
    wanted, remote_mode, how, dummy_screen
):
    """Lists from frames and a window from arrays; all else is refused by name."""

    def make() -> Display | None:
        return display_for(wanted, remote_mode, lambda: None, {"render_modes": []})

    if how == "error":
        with pytest.raises(rlay.ChannelError, match=f"render_mode={remote_mode!r}"):
            make()
        return
    display = make()
    assert (display is None) is (how is None)
    if display is not None:
        display.close()


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [(None, None), ("human", "human"), ("rgb_array_list", "rgb_array"), ("a", "a")],
)
def test_display_backend_is_asked_for_frames_where_a_list_is_wanted(wanted, asked):
    """The collecting is done here."""
    assert backend_mode(wanted) == asked
