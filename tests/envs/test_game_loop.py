"""What a game that owns its loop is told, in each state; design: "The game's loop".

In most tests the game is the test itself, and the trainer's calls run in a thread.
Each is run with ``decide``, which blocks, and with its twin ``report`` and ``poll``.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.error import ResetNeeded

import rlay
from rlay.testing.environments import ScriptedEnv
from tests.support.threads import LIMIT_S, Trainer, background, playing, result, trainer
from tests.support.waiting import wait_until

OBSERVATIONS = spaces.Box(-1e6, 1e6, (2,), np.float64)
ACTIONS = spaces.Discrete(1000)
SPACES: dict[str, Any] = {"observation_space": OBSERVATIONS, "action_space": ACTIONS}


def at(*numbers: float) -> Any:
    """Return an observation; one number stands for two equal ones."""
    return np.array(numbers if len(numbers) == 2 else numbers * 2, np.float64)


class Game:
    """A ``ClientBackend`` whose ``ask`` is either ``decide`` or its twin."""

    def __init__(self, backend: rlay.ClientBackend, twin: bool) -> None:
        self.backend = backend
        self._twin = twin

    def ask(self, *args: Any, **kwargs: Any) -> Any:
        """Report, and wait for the decision."""
        if not self._twin:
            return self.backend.decide(*args, **kwargs)
        self.backend.report(*args, **kwargs)
        return wait_until(lambda: self.backend.poll(timeout=0), LIMIT_S)


@pytest.fixture(params=["decide", "poll"])
def make_game(request, channel_directory):
    """Make games that ask in one of the two ways; they are closed at the end."""
    made: list[rlay.ClientBackend] = []

    def make(name: str = "game", **options: Any) -> Game:
        backend = rlay.ClientBackend(
            name=name, connect_timeout=LIMIT_S, **{**SPACES, **options}
        )
        made.append(backend)
        return Game(backend, request.param == "poll")

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def pair(make_game):
    """A trainer that is resetting with seed 1, and the game that was told so."""
    with trainer("game") as algorithm:
        first = algorithm.reset(seed=1)
        game = make_game()
        assert game.ask() == rlay.Reset(1, None)
        yield algorithm, game, first


def start(algorithm: Trainer, game: Game, first: Any) -> Any:
    """Lead a pair to its first action, 7, and return the future of that step."""

    def first_step() -> Any:
        result(first)
        return algorithm.env.step(7)

    # In order in the trainer's thread: the step starts when the reset has returned.
    step = algorithm.submit(first_step)
    assert game.ask(at(0)) == rlay.Action(7)
    return step


# ------------------------------------------------------------------------------ idle


def test_idle_asks_nothing_loaded_reset_with_seed_and_options_comes(make_game):
    """The first decision is Reset, with the seed and the options of env.reset."""
    with trainer("game") as algorithm:
        algorithm.reset(seed=2**70, options={"level": [1, {"deep": (2,)}]})
        decision = make_game().ask()
    assert decision == rlay.Reset(2**70, {"level": [1, {"deep": (2,)}]})


def test_idle_trainer_closes_before_any_reset_close_comes(make_game):
    """A trainer that closes without a reset is a Close, not an exception."""
    with trainer("game") as algorithm:
        waiting = algorithm.wait_until_connected()
        game = make_game()
        result(waiting)
        algorithm.close()
        assert game.ask() == rlay.Close("closed")


def test_idle_observation_given_refused_and_nothing_sent(make_game):
    """Nothing is loaded before the first Reset, so nothing can be observed."""
    with trainer("game") as algorithm:
        algorithm.reset(seed=3)
        game = make_game()
        with pytest.raises(rlay.LocalProtocolError, match="no trainer has said Reset"):
            game.ask(at(0))
        assert game.ask() == rlay.Reset(3, None)


# ----------------------------------------------------------------------------- reset


def test_reset_report_answers_env_reset(pair):
    """What the game reports after Reset is what env.reset returns."""
    algorithm, game, first = pair
    game.backend.report(at(4), info={"level": 2})
    observation, info = result(first)
    assert observation.tolist() == [4, 4]
    assert info == {"level": 2}
    algorithm.close()


def test_reset_then_action_comes(pair):
    """After Reset the trainer may say Action."""
    algorithm, game, first = pair
    start(algorithm, game, first)


def test_reset_twice_second_reset_comes_and_answers_its_own_reset(pair):
    """Reset after Reset is legal: each env.reset returns its own first observation."""
    algorithm, game, first = pair
    second = algorithm.reset(seed=2)
    assert game.ask(at(1)) == rlay.Reset(2, None)
    game.backend.report(at(2))
    assert result(first)[0].tolist() == [1, 1]
    assert result(second)[0].tolist() == [2, 2]


def test_reset_then_close_comes(pair):
    """After Reset the trainer may close."""
    algorithm, game, _ = pair
    algorithm.close()
    assert game.ask(at(1)) == rlay.Close("closed")


@pytest.mark.parametrize(
    "report",
    [(1.0, False, False), (0.0, True, False), (0.0, False, True), (np.nan, 0, 0)],
    ids=["reward", "terminated", "truncated", "nan"],
)
def test_reset_report_with_reward_or_flag_refused_and_nothing_sent(pair, report):
    """No tick runs between Reset and its report, so there is nothing to reward."""
    _, game, first = pair
    with pytest.raises(rlay.LocalProtocolError, match="no reward and no flags"):
        game.ask(at(1), *report)
    game.backend.report(at(2))
    assert result(first)[0].tolist() == [2, 2]


def test_reset_report_without_observation_refused(pair):
    """decide() without arguments belongs to IDLE."""
    _, game, first = pair
    with pytest.raises(rlay.LocalProtocolError, match="last decision was Reset"):
        game.ask()
    game.backend.report(at(2))
    assert result(first)[0].tolist() == [2, 2]


# ------------------------------------------------------------------------------- run


def test_run_step_returns_the_transition_that_its_action_caused(pair):
    """Not the transition before: each observation, reward and info is the action's."""
    algorithm, game, first = pair

    def train() -> list[Any]:
        result(first)
        return [algorithm.env.step(action) for action in range(1, 51)]

    done = algorithm.submit(train)
    decision = game.ask(at(0))
    for step in range(1, 51):
        assert decision == rlay.Action(step)
        report = (at(step), 2.0 * step, False, False, {"action": step})
        if step < 50:
            decision = game.ask(*report)
        else:
            game.backend.report(*report)
    for action, transition in enumerate(result(done), 1):
        observation, reward, terminated, truncated, info = transition
        assert observation.tolist() == [action, action]
        assert (reward, terminated, truncated) == (2.0 * action, False, False)
        assert info == {"action": action}


def test_run_reset_in_mid_episode_abandons_it(pair):
    """Reset comes inside decide; the next report is the new episode's first one."""
    algorithm, game, first = pair
    step = start(algorithm, game, first)
    again = algorithm.reset(seed=9)
    assert game.ask(at(1), 1.0) == rlay.Reset(9, None)
    assert result(step)[0].tolist() == [1, 1]
    game.backend.report(at(2), info={"new": True})
    observation, info = result(again)
    assert (observation.tolist(), info) == ([2, 2], {"new": True})


def test_run_close_in_mid_episode_comes(pair):
    """The trainer may close in mid-episode."""
    algorithm, game, first = pair
    start(algorithm, game, first)
    algorithm.close()
    assert game.ask(at(1), 1.0) == rlay.Close("closed")


def test_run_report_without_observation_refused(pair):
    """decide() without arguments after Action is a mistake, and harmless."""
    algorithm, game, first = pair
    step = start(algorithm, game, first)
    with pytest.raises(rlay.LocalProtocolError, match="last decision was Action"):
        game.ask()
    game.backend.report(at(5), 1.0)
    assert result(step)[0].tolist() == [5, 5]


@pytest.mark.parametrize("flags", [(True, False), (False, True), (True, True)])
def test_run_ended_step_needs_reset_and_game_hears_nothing(pair, flags):
    """After an end never Action: step raises ResetNeeded, then Reset comes."""
    algorithm, game, first = pair
    step = start(algorithm, game, first)
    game.backend.report(at(1), 1.0, *flags)
    assert result(step)[2:4] == flags
    with pytest.raises(ResetNeeded, match="the episode is over"):
        result(algorithm.step(1))
    assert game.backend.poll() is None
    algorithm.reset(seed=4)
    assert game.backend.poll(LIMIT_S) == rlay.Reset(4, None)


def test_run_ended_close_comes(pair):
    """After an end the trainer may close."""
    algorithm, game, first = pair
    step = start(algorithm, game, first)
    game.backend.report(at(1), 1.0, True)
    result(step)
    algorithm.close()
    assert game.backend.poll(LIMIT_S) == rlay.Close("closed")


def test_run_end_inside_action_repeat_reported_at_once(pair):
    """The reward counts up to the tick at which the episode ends, and no further."""
    algorithm, game, first = pair
    step = start(algorithm, game, first)
    lives, reward, ticks = 3, 0.0, 0
    for _ in range(8):  # the action is to be repeated eight times
        ticks, lives, reward = ticks + 1, lives - 1, reward + 0.5
        if lives == 0:
            break
    game.backend.report(at(ticks), reward, lives == 0, False, {"ticks": ticks})
    observation, total, terminated, truncated, info = result(step)
    assert observation.tolist() == [3, 3]
    assert (total, terminated, truncated) == (1.5, True, False)
    assert info == {"ticks": 3}


def test_run_game_that_ends_an_episode_itself_truncates(pair):
    """A level that is unloaded is a truncation, and the trainer's next word Reset."""
    algorithm, game, first = pair
    step = start(algorithm, game, first)
    algorithm.reset(seed=5)
    decision = game.ask(at(1), 0.0, truncated=True, info={"why": "player quit"})
    assert decision == rlay.Reset(5, None)
    transition = result(step)
    assert transition[2:] == (False, True, {"why": "player quit"})


def test_run_step_before_reset_needs_reset_and_reaches_nobody(make_game):
    """step() before any reset raises at once, whether or not a game is there."""
    with trainer("game") as algorithm:
        with pytest.raises(ResetNeeded, match="never called"):
            algorithm.env.step(1)
        waiting = algorithm.wait_until_connected()
        game = make_game()
        result(waiting)
        with pytest.raises(ResetNeeded):
            algorithm.env.step(1)
        algorithm.reset(seed=6)
        assert game.ask() == rlay.Reset(6, None)


# ------------------------------------------------------------------------- time-outs


def test_timeout_reset_answers_the_late_report_and_discards_it(make_game):
    """After a StepTimeout the game's next report is answered by Reset, unread."""
    with trainer("game", step_timeout=0.2) as algorithm:
        first = algorithm.reset()
        game = make_game()
        game.ask()
        step = start(algorithm, game, first)
        with pytest.raises(rlay.StepTimeout):
            result(step)  # the game is busy
        with pytest.raises(ResetNeeded, match="timed out"):
            result(algorithm.step(1))
        again = algorithm.reset(seed=8)
        late = (at(-1), 99.0, True, False, {"late": True})
        assert game.ask(*late) == rlay.Reset(8, None)
        game.backend.report(at(3))
        assert result(again)[0].tolist() == [3, 3]
        step = algorithm.step(2)
        assert game.backend.poll(LIMIT_S) == rlay.Action(2)
        game.backend.report(at(4), 1.0)
        assert result(step)[0].tolist() == [4, 4]


def test_timeout_reset_times_out_too_and_a_second_reset_works(make_game):
    """A game that is still busy makes reset time out as well; it can be repeated."""
    with trainer("game", step_timeout=0.1, reset_timeout=0.2) as algorithm:
        waiting = algorithm.wait_until_connected()
        game = make_game()
        result(waiting)
        with pytest.raises(rlay.ResetTimeout):
            result(algorithm.reset(seed=1))
        again = algorithm.reset(seed=2)
        decision = game.ask()
        while decision == rlay.Reset(1, None):  # the first one, if it was sent
            decision = game.ask(at(1))
        assert decision == rlay.Reset(2, None)
        game.backend.report(at(2))
        assert result(again)[0].tolist() == [2, 2]


def test_timeout_then_close_tells_the_game(make_game):
    """Who closes after a time-out has said goodbye; the game is not stuck."""
    with trainer("game", step_timeout=0.1) as algorithm:
        first = algorithm.reset()
        game = make_game()
        game.ask()
        step = start(algorithm, game, first)
        with pytest.raises(rlay.StepTimeout):
            result(step)
        algorithm.env.close()
        assert game.ask(at(1), 1.0) == rlay.Close("closed")


# --------------------------------------------------------------------- next trainers


def test_close_then_idle_next_trainer_is_served(make_game):
    """After Close the next decide() waits for the next trainer, and serves it."""
    with trainer("game") as algorithm:
        first = algorithm.reset(seed=1)
        game = make_game()
        game.ask()
        start(algorithm, game, first)
        algorithm.close()
        assert game.ask(at(1), 1.0) == rlay.Close("closed")
    assert not game.backend.connected
    with pytest.raises(rlay.LocalProtocolError, match="without arguments"):
        game.ask(at(2))
    with trainer("game") as algorithm:
        first = algorithm.reset(seed=2)
        assert game.ask() == rlay.Reset(2, None)
        step = start(algorithm, game, first)
        game.backend.report(at(3), 1.0)
        assert result(step)[0].tolist() == [3, 3]


def joined(backend: rlay.ClientBackend) -> bool:
    """Return whether there is a trainer."""
    return backend.connected


def test_connect_timeout_zero_plays_on_unconnected_and_joins_later(channel_directory):
    """Without a trainer the game plays on; poll() finds one when it is there."""
    with rlay.ClientBackend(name="game", connect_timeout=0, **SPACES) as backend:
        assert not joined(backend)
        began = time.monotonic()
        assert [backend.poll() for _ in range(50)] == [None] * 50
        assert time.monotonic() - began < LIMIT_S  # it never waits for connect_timeout
        backend.report()  # says nothing to nobody
        with pytest.raises(rlay.LocalProtocolError, match="no trainer"):
            backend.report(at(0))
        with trainer("game") as algorithm:
            assert backend.poll() is None  # there, but it has not called reset
            assert not joined(backend)
            first = algorithm.reset(seed=3)
            decision = wait_until(backend.poll, LIMIT_S)
            assert decision == rlay.Reset(3, None)
            assert joined(backend)
            backend.report(at(1))
            assert result(first)[0].tolist() == [1, 1]


def test_connect_timeout_zero_decide_waits_for_the_trainer(channel_directory):
    """decide() without arguments blocks until a trainer says Reset."""
    with (
        rlay.ClientBackend(name="game", connect_timeout=0, **SPACES) as backend,
        trainer("game") as algorithm,
    ):
        algorithm.reset(seed=4)
        assert backend.decide() == rlay.Reset(4, None)


def test_connect_timeout_passes_names_what_to_start(channel_directory):
    """A game that nobody trains says which ServerEnv to start."""
    with pytest.raises(rlay.ConnectTimeout, match=r"rlay\.ServerEnv\('game'\)"):
        rlay.ClientBackend(name="game", connect_timeout=0.05, **SPACES)


def test_second_trainer_busy_names_the_holder(channel_directory):
    """A name has one trainer; the second is told where the first one is."""
    with (
        trainer("game"),
        pytest.raises(rlay.ChannelBusy, match=r"threads\.py:[0-9]+"),
    ):
        rlay.ServerEnv("game")


def test_second_game_waits_and_says_for_what(pair):
    """A trainer has one game; a second one gives up at its connect_timeout."""
    with pytest.raises(rlay.ConnectTimeout, match=r"no trainer within 0\.05 s"):
        rlay.ClientBackend(name="game", connect_timeout=0.05, **SPACES)


def test_second_game_takes_over_when_the_first_has_left(make_game):
    """A game that closes makes room: reset() adopts the next one."""
    with trainer("game") as algorithm:
        first = algorithm.reset(seed=1)
        game = make_game()
        game.ask()
        step = start(algorithm, game, first)
        game.backend.close()
        with pytest.raises(rlay.EnvLost):
            result(step)
        with pytest.raises(ResetNeeded, match="over"):
            result(algorithm.step(1))
        again = algorithm.reset(seed=2)
        other = make_game()
        assert other.ask() == rlay.Reset(2, None)
        other.backend.report(at(2))
        assert result(again)[0].tolist() == [2, 2]


# ------------------------------------------------------------------------------ calls


def test_calls_answered_inside_the_wait_and_never_returned(make_game):
    """The trainer's calls run in the game, while it waits for a decision."""
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    with trainer("game") as algorithm:
        first = algorithm.reset()
        game = make_game(
            render=lambda: frame, calls={"add": lambda x, *, y: x + y}, render_mode="x"
        )
        game.ask()

        def train() -> Any:
            result(first)
            env = algorithm.env
            return env.render(), env.add(2, y=3), env.step(5)

        done = algorithm.submit(train)
        assert game.ask(at(0)) == rlay.Action(5)
        game.backend.report(at(1), 1.0)
        rendered, total, transition = result(done)
    np.testing.assert_array_equal(rendered, frame)
    assert total == 5
    assert transition[0].tolist() == [1, 1]


def test_calls_that_raise_reach_the_trainer_and_the_game_goes_on(make_game):
    """An exception in an allowed function is the trainer's news, not the game's end."""

    def explode() -> None:
        raise KeyError("no such level")

    with trainer("game") as algorithm:
        first = algorithm.reset()
        game = make_game(calls={"explode": explode})
        game.ask()

        def train() -> Any:
            result(first)
            with pytest.raises(rlay.RemoteEnvError, match="no such level") as caught:
                algorithm.env.explode()
            with pytest.raises(rlay.RemoteEnvError, match="no render="):
                algorithm.env.render()
            assert caught.value.remote_type == "KeyError"
            return algorithm.env.step(5)

        done = algorithm.submit(train)
        assert game.ask(at(0)) == rlay.Action(5)
        game.backend.report(at(1), 1.0)
        assert result(done)[0].tolist() == [1, 1]


def test_call_result_that_cannot_travel_is_the_trainers_error(make_game):
    """What an allowed function returns must be plain data; the game goes on."""
    with trainer("game") as algorithm:
        first = algorithm.reset()
        game = make_game(calls={"odd": lambda: [{"deep": [object()]}]})
        game.ask()

        def train() -> Any:
            result(first)
            with pytest.raises(rlay.RemoteEnvError, match=r"\$\[0\]\.deep\[0\]"):
                algorithm.env.odd()
            return algorithm.env.step(5)

        done = algorithm.submit(train)
        assert game.ask(at(0)) == rlay.Action(5)
        game.backend.report(at(1), 1.0)
        assert result(done)[0].tolist() == [1, 1]


def test_call_before_reset_needs_reset(pair):
    """The game can be asked only while it waits for a decision."""
    algorithm, _, _ = pair
    with rlay.ServerEnv("other") as other, pytest.raises(ResetNeeded):
        other.render()
    del algorithm


# ------------------------------------------------------------------- report and poll


def test_poll_without_decision_returns_none_at_once(pair):
    """The twin never blocks: None, until the trainer has decided."""
    algorithm, game, first = pair
    game.backend.report(at(1))
    result(first)
    assert [game.backend.poll() for _ in range(20)] == [None] * 20
    assert game.backend.poll(timeout=0.01) is None
    algorithm.step(3)
    assert game.backend.poll(timeout=LIMIT_S) == rlay.Action(3)


def test_poll_without_report_refused(pair):
    """poll() answers a report; without one there is nothing to wait for."""
    _, game, first = pair
    with pytest.raises(rlay.LocalProtocolError, match="nothing was reported"):
        game.backend.poll()
    game.backend.report(at(1))
    result(first)


def test_report_twice_refused_and_the_first_one_counts(pair):
    """A report must be decided upon before the next one."""
    _, game, first = pair
    game.backend.report(at(1))
    with pytest.raises(rlay.LocalProtocolError, match="call poll"):
        game.backend.report(at(2))
    assert result(first)[0].tolist() == [1, 1]


@pytest.mark.parametrize(
    "observation",
    [np.zeros(2, np.float32), np.zeros(3, np.float64), [0.0, 0.0], None],
    ids=["dtype", "shape", "list", "none"],
)
def test_report_of_another_space_refused_and_nothing_sent(pair, observation):
    """A wrong observation is the game's own error; a right one can still be made."""
    _, game, first = pair
    with pytest.raises(rlay.SpaceMismatch, match="float64"):
        game.backend.report(observation)
    game.backend.report(at(1))
    assert result(first)[0].tolist() == [1, 1]


def test_report_of_info_that_cannot_travel_refused_and_nothing_sent(pair):
    """An info's unsendable part is named by its path; the game may mend it."""
    _, game, first = pair
    with pytest.raises(rlay.LocalProtocolError, match=r"\$\.engine\[1\]"):
        game.backend.report(at(1), info={"engine": [1, object()]})
    game.backend.report(at(1), info={"engine": [1]})
    assert result(first)[1] == {"engine": [1]}


def test_report_of_flags_that_are_no_truth_values_refused_and_nothing_sent(pair):
    """A flag must be true or false; what is neither is refused before it is sent."""
    algorithm, game, first = pair
    step = start(algorithm, game, first)
    with pytest.raises(ValueError, match="ambiguous"):
        game.backend.report(at(1), 1.0, np.array([True, False]))
    game.backend.report(at(1), 1.0, True)
    assert result(step)[2] is True


# ------------------------------------------------------------------------------ run()


def log_env(length: int | None = None) -> ScriptedEnv:
    """Return an environment that echoes its action and keeps a log of its calls."""

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        env.memory.setdefault("log", []).append(("reset", seed, options))
        return at(0), {"seed": seed}

    def step(env: ScriptedEnv, action: Any) -> Any:
        env.memory["log"].append(("step", int(action)))
        ended = length is not None and env.steps >= length
        return at(float(action)), 2.0 * float(action), ended, False, {"n": env.steps}

    return ScriptedEnv(
        observation_space=OBSERVATIONS,
        action_space=ACTIONS,
        reset_fn=reset,
        step_fn=step,
    )


def test_run_loop_step_returns_its_own_transition(channel_directory):
    """With run() as with decide(): step(k) returns what action k caused."""
    with rlay.ServerEnv("game") as env, playing(log_env(), name="game"):
        assert env.reset(seed=3)[1] == {"seed": 3}
        for action in range(1, 40):
            observation, reward, terminated, truncated, info = env.step(action)
            assert observation.tolist() == [action, action]
            assert (reward, terminated, truncated) == (2.0 * action, False, False)
            assert info == {"n": action}
        env.close()


def test_run_loop_calls_the_environment_as_the_trainer_said(channel_directory):
    """Reset twice, in mid-episode and after an end: exactly these calls, in order."""
    game = log_env(length=2)
    with rlay.ServerEnv("game") as env, playing(game, name="game"):
        env.reset(seed=1)
        env.reset(seed=2, options={"a": [1]})
        env.step(5)
        env.reset()
        env.step(6)
        assert env.step(7)[2] is True
        with pytest.raises(ResetNeeded):
            env.step(8)
        env.reset(seed=4)
        env.close()
    assert game.memory["log"] == [
        ("reset", 1, None),
        ("reset", 2, {"a": [1]}),
        ("step", 5),
        ("reset", None, None),
        ("step", 6),
        ("step", 7),
        ("reset", 4, None),
    ]


def test_run_loop_timeout_then_reset_discards_the_late_transition(channel_directory):
    """The step that timed out runs to its end; its transition is never seen."""
    go = threading.Event()
    game = log_env()
    inner = game._step_fn

    def slow(env: ScriptedEnv, action: Any) -> Any:
        if action == 13:
            go.wait(LIMIT_S)
        assert inner is not None
        return inner(env, action)

    game._step_fn = slow
    with (
        rlay.ServerEnv("game", step_timeout=0.1) as env,
        playing(game, name="game"),
    ):
        env.reset()
        with pytest.raises(rlay.StepTimeout):
            env.step(13)
        go.set()
        assert env.reset(seed=2)[0].tolist() == [0, 0]
        assert env.step(3)[0].tolist() == [3, 3]
        env.close()
    assert ("step", 13) in game.memory["log"]


def test_run_loop_serves_the_next_trainer(channel_directory):
    """run(sessions=2) returns after two trainers, and closes the environment once."""
    closed: list[int] = []
    game = log_env()
    game._close_fn = lambda env: closed.append(1)
    with playing(game, name="game", sessions=2):
        for seed in (1, 2):
            with rlay.ServerEnv("game") as env:
                env.reset(seed=seed)
                env.step(seed)
    assert game.memory["log"] == [
        ("reset", 1, None),
        ("step", 1),
        ("reset", 2, None),
        ("step", 2),
    ]
    assert closed == [1]


def test_run_loop_environment_that_raises_reports_it_and_goes_on(channel_directory):
    """An exception in step or reset is the trainer's RemoteEnvError; both go on."""
    game = log_env()
    inner = game._step_fn

    def step(env: ScriptedEnv, action: Any) -> Any:
        if action == 13:
            raise ZeroDivisionError("unlucky")
        assert inner is not None
        return inner(env, action)

    def reset(env: ScriptedEnv, seed: Any, options: Any) -> Any:
        if seed == 13:
            raise ValueError("unlucky seed")
        return at(0), {}

    game._step_fn, game._reset_fn = step, reset
    game.memory["log"] = []
    with rlay.ServerEnv("game") as env, playing(game, name="game"):
        with pytest.raises(rlay.RemoteEnvError, match="unlucky seed"):
            env.reset(seed=13)
        env.reset(seed=1)
        with pytest.raises(rlay.RemoteEnvError, match="unlucky") as caught:
            env.step(13)
        assert caught.value.remote_type == "ZeroDivisionError"
        assert "in step" in caught.value.remote_traceback
        assert env.step(4)[0].tolist() == [4, 4]  # as in the same process
        env.reset(seed=2)
        env.close()


def test_run_loop_wrong_observation_is_the_trainers_space_mismatch(channel_directory):
    """The environment's own fault is told to the trainer, with what was expected."""
    game = log_env()
    game._step_fn = lambda env, action: (np.zeros(2, np.float32), 0.0, False, False, {})
    game._reset_fn = lambda env, seed, options: (np.zeros(3), {})
    with rlay.ServerEnv("game") as env, playing(game, name="game"):
        with pytest.raises(rlay.SpaceMismatch, match=r"expected float64 \(2,\)"):
            env.reset()
        game._reset_fn = None
        env.reset()
        with pytest.raises(rlay.SpaceMismatch, match=r"got float32 \(2,\), at \$"):
            env.step(1)
        env.close()


def test_run_loop_actions_are_not_checked(channel_directory):
    """An action outside its space reaches the environment, as in the same process."""
    game = log_env()
    with rlay.ServerEnv("game") as env, playing(game, name="game"):
        env.reset()
        for action in (-5, 5000, 2.0, np.int16(3)):
            assert env.step(action)[0][0] == action
        env.close()


def test_trainer_killed_in_each_state_is_a_close_that_says_lost(children):
    """Close(reason="lost") in IDLE, RESET, RUN and after an end; then the next one."""
    names = ["idle", "reset", "run", "ended"]
    child = children.start(train_until_killed, *names)
    games = {
        name: rlay.ClientBackend(name=name, connect_timeout=0, **SPACES)
        for name in names
    }
    try:
        waiting = lead_into_states(games)
        child.wait_until_printed("all there")
        child.kill()
        for name, game in games.items():
            if name not in waiting:  # it has a decision, and reports only now
                game.report(at(1))
            assert game.poll(LIMIT_S) == rlay.Close("lost"), name
            assert not game.connected
        for game in games.values():
            with trainer(game.name) as algorithm:
                algorithm.reset(seed=7)
                assert game.decide() == rlay.Reset(7, None)
    finally:
        for game in games.values():
            game.close()


def lead_into_states(games: dict[str, rlay.ClientBackend]) -> set[str]:
    """Play until each game is in the state that it is named after.

    Returns:
        Those that have reported and wait for a decision.
    """
    idle = games["idle"]
    wait_until(lambda: idle.poll() or idle.connected, LIMIT_S)
    assert games["ended"].decide() == rlay.Reset(1, None)
    assert games["ended"].decide(at(0)) == rlay.Action(7)
    games["ended"].report(at(1), 1.0, True)
    assert games["reset"].decide() == rlay.Reset(1, None)
    assert games["run"].decide() == rlay.Reset(1, None)
    assert games["run"].decide(at(0)) == rlay.Action(7)
    return {"idle", "ended"}


def train_until_killed(*names: str) -> None:
    """Be the trainer of four games, each in another state, until SIGKILL."""
    envs = {name: rlay.ServerEnv(name) for name in names}
    envs["idle"].wait_until_connected()
    envs["ended"].reset(seed=1)
    envs["ended"].step(7)

    def go_on(name: str) -> None:
        envs[name].reset(seed=1)
        envs[name].step(7)

    threads = [
        threading.Thread(target=go_on, args=(name,), daemon=True)
        for name in ("reset", "run")
    ]
    for thread in threads:
        thread.start()
    sys.stdout.write("all there\n")
    sys.stdout.flush()
    threads[0].join()


def test_loop_of_the_docstring_plays_episodes(channel_directory):
    """The loop that ClientBackend's docstring shows serves a usual training script."""

    def loop() -> None:
        backend = rlay.ClientBackend(name="game", connect_timeout=LIMIT_S, **SPACES)
        with backend:
            position, decision, closes = 0.0, backend.decide(), 0
            while True:
                match decision:
                    case rlay.Reset(seed=seed):
                        position = float(seed or 0)
                        decision = backend.decide(at(position))
                    case rlay.Action(action=action):
                        position += float(action)
                        decision = backend.decide(
                            at(position), 1.0, position >= 10, False
                        )
                    case rlay.Close():
                        closes += 1
                        if closes == 2:
                            return
                        decision = backend.decide()

    with background(loop):
        for _ in range(2):
            with gymnasium.make("rlay/ServerEnv-v0", name="game") as env:
                for episode in range(3):
                    observation, _ = env.reset(seed=episode)
                    ended, total = False, 0.0
                    while not ended:
                        observation, reward, ended, _, _ = env.step(3)
                        total += float(reward)
                    assert observation.tolist() == [episode + 3 * total] * 2
