"""Peers that break the protocol: told so at once, and no session suffers but theirs.

The offender is one of RLay's own ends, made to say what it must not.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded

import rlay
from rlay.envs.algorithm_link import AlgorithmLink
from rlay.envs.game_host import GameHost
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Kind
from rlay.protocol.delivery import next_sequence
from rlay.testing.environments import HashChainEnv, ScriptedEnv
from rlay.transport.slots import SlotWriter
from tests.support.threads import LIMIT_S, Background, raised_by, serving, trainer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("channel_directory")

SPACES: dict[str, Any] = {
    "observation_space": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "action_space": spaces.Discrete(3),
    "connect_timeout": LIMIT_S,
}


def link_of(env: Any) -> AlgorithmLink:
    link = env._link
    assert isinstance(link, AlgorithmLink)
    return link


@pytest.mark.parametrize(
    ("kind", "payload", "said"),
    [
        (Kind.TRANSITION, b"", "TRANSITION is no request"),
        (Kind.STEP, b"\xc1", r"at \$"),
        (Kind.CALL, b"\x93\x01\xc1\xc0", r"at \$"),
    ],
    ids=["kind", "step", "call"],
)
def test_backend_answers_a_request_that_it_cannot_read(kind, payload, said):
    """The client hears at once what it did; a reset starts a new session."""
    with serving(HashChainEnv, name="x", sessions=2), rlay.ClientEnv("x") as env:
        env.reset(seed=1)
        link = link_of(env)
        link._say(lambda buffer: buffer.write(int(kind), payload), link._step_patience)
        with pytest.raises(rlay.RemoteProtocolError, match=said):
            link.step_wait()
        assert link.over
        env.reset(seed=1)
        assert link_of(env) is not link
        env.step(1)


class Switches(gymnasium.Env[Any, Any]):
    """Its actions are three bools."""

    observation_space: Any = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space: Any = spaces.Box(0, 1, (3,), np.bool_)

    def reset(self, **_: Any) -> Any:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.zeros(1, np.float32), 0.0, False, False, {}


@pytest.mark.parametrize("num_envs", [1, 2])
def test_backend_answers_a_steady_step_that_it_cannot_read(num_envs):
    """A bool is a byte 0 or 1: the short way finds that, and the long way says so."""
    action = np.zeros((num_envs, 3) if num_envs > 1 else 3, np.bool_)
    with serving(Switches, name="x", num_envs=num_envs, sessions=None):
        make: Any = rlay.ClientEnv if num_envs == 1 else rlay.ClientVectorEnv
        with contextlib.closing(make("x", step_timeout=LIMIT_S)) as env:
            env.reset()
            link = env._link if num_envs == 1 else env._lanes._link
            sequence = link._begin()
            buffer = link.channel.outgoing[sequence & 1]
            assert buffer.steady(action)
            buffer.payload[0] = 2
            link.channel.send(sequence)
            with pytest.raises(rlay.RemoteProtocolError, match="bool"):
                link.step_wait()


def test_backend_drops_a_client_that_leaps_ahead_and_serves_the_next():
    """A sequence that is not the next one ends that session only."""
    with serving(HashChainEnv, name="x", sessions=2):
        first = rlay.ClientEnv("x", step_timeout=0.2)
        first.reset(seed=1)
        machine = link_of(first)._machine
        machine.sequence = next_sequence(next_sequence(machine.sequence))
        with pytest.raises((rlay.StepTimeout, rlay.EnvLost, rlay.RemoteProtocolError)):
            first.step(1)
        first.close()
        with rlay.ClientEnv("x") as env:
            env.reset(seed=1)
            env.step(1)


def test_game_leaves_a_trainer_that_says_action_before_reset():
    """READY is answered by Reset or Close; the session is over, the game is not."""
    with trainer("x") as algorithm:
        waiting = algorithm.wait_until_connected()
        with rlay.ClientBackend(name="x", **SPACES) as game:
            waiting.result(LIMIT_S)
            link = link_of(algorithm.env)
            game.report()
            link._settle(link._step_patience)
            link.step_send(1)
            with pytest.raises(rlay.RemoteProtocolError, match="Action where only"):
                game.poll(LIMIT_S)
            assert not game.connected
            algorithm.reset(seed=3)
            wait_until(lambda: algorithm.env._link is None)  # it takes games in again
            assert game.decide() == rlay.Reset(3, None)


def test_game_leaves_a_trainer_that_says_action_after_an_end():
    """An ended episode is answered by Reset or Close, also where a trainer errs."""
    nothing = np.zeros(2, np.float32)
    with trainer("x") as algorithm:
        algorithm.reset()
        with rlay.ClientBackend(name="x", **SPACES) as game:
            assert isinstance(game.decide(), rlay.Reset)
            step = algorithm.submit(lambda: algorithm.env.step(1))
            assert game.decide(nothing) == rlay.Action(1)
            game.report(nothing, 1.0, True)
            assert step.result(LIMIT_S)[2] is True
            link_of(algorithm.env).step_send(2)
            with pytest.raises(rlay.RemoteProtocolError, match="Action where only"):
                game.poll(LIMIT_S)
            assert not game.connected


def test_game_leaves_a_trainer_that_says_what_is_no_decision():
    """A message of a kind that decides nothing ends the session."""
    with trainer("x") as algorithm:
        waiting = algorithm.wait_until_connected()
        with rlay.ClientBackend(name="x", **SPACES) as game:
            waiting.result(LIMIT_S)
            link = link_of(algorithm.env)
            game.report()
            link._settle(link._step_patience)
            link._say(say_ready, link._step_patience)
            with pytest.raises(rlay.RemoteProtocolError, match="READY is no decision"):
                game.poll(LIMIT_S)
            assert not game.connected


def say_ready(buffer: MessageBuffer) -> bytes | None:
    return buffer.write(int(Kind.READY), b"")


def test_trainer_drops_a_game_that_answers_a_reset_with_ready():
    """A report of the wrong kind is RemoteProtocolError; reset() starts afresh."""
    with trainer("x") as algorithm:
        first = algorithm.reset(seed=1)
        with rlay.ClientBackend(name="x", **SPACES) as game:
            assert game.decide() == rlay.Reset(1, None)
            session = game._session
            assert session is not None
            session.report(session.end.writer.ready)
            with pytest.raises(rlay.RemoteProtocolError, match="READY came in place"):
                first.result(LIMIT_S)
            with pytest.raises(ResetNeeded):
                algorithm.env.step(0)
            again = algorithm.reset(seed=2)
            assert isinstance(game.poll(LIMIT_S), rlay.Close)  # it is sent away
            assert game.decide() == rlay.Reset(2, None)
            game.report(np.zeros(2, np.float32))
            again.result(LIMIT_S)


def test_large_message_interrupted_in_the_middle_then_reset_works(remote, monkeypatch):
    """Ctrl-C between two parts ends the session; reset() makes a new one by itself."""
    options = {"map": np.zeros(3_000_000, np.uint8)}
    seen: list[Any] = []

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        seen.append(None if options is None else options["map"].size)
        return np.zeros(2, np.float32), {}

    with remote(ScriptedEnv(reset_fn=reset), sessions=2) as env:
        env.reset()
        waits = 0
        wait = SlotWriter.wait_until_taken

        def interrupted(writer: SlotWriter, patience: Any) -> None:
            nonlocal waits
            if threading.current_thread() is threading.main_thread():
                waits += 1
                if waits == 5:
                    raise KeyboardInterrupt
            wait(writer, patience)

        with monkeypatch.context() as patch:
            patch.setattr(SlotWriter, "wait_until_taken", interrupted)
            with pytest.raises(KeyboardInterrupt):
                env.reset(options=options)
        with pytest.raises(ResetNeeded):
            env.step(0)
        env.reset(options=options)
        env.step(0)
    assert seen == [None, 3_000_000]


def test_trainer_closed_while_it_sends_a_game_away_leaves_no_channel(
    channel_directory, monkeypatch
):
    """close() in another thread, between the old channel and the new one."""
    env = rlay.ServerEnv("x")
    with rlay.ClientBackend(ScriptedEnv(), name="x", connect_timeout=0) as game:
        connecting = Background(env.wait_until_connected)
        assert game.poll(0.5) is None
        connecting.outcome()
        link_of(env)._machine.lose()
        make = GameHost._make_channel

        def make_late(host: GameHost) -> Any:
            env.close()
            return make(host)

        monkeypatch.setattr(GameHost, "_make_channel", make_late)
        error = raised_by(rlay.RLayError, env.reset)
        assert "closed" in str(error)
    assert list(channel_directory.iterdir()) == []
