"""``launch=``: an environment, or a vector of them, that starts its own game."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import rlay
from rlay.processes.quota import RestartQuota
from tests.support.waiting import wait_until

LIMIT_S = 30.0
SPACE = gymnasium.spaces.Discrete(100)
GAME = """
import os, signal, sys, time
import gymnasium
import rlay

what = sys.argv[1] if len(sys.argv) > 1 else "nothing"
print("the game starts for", os.environ["RLAY_CHANNEL"], flush=True)

def happen(event):
    if event == "exit 3":
        sys.exit(3)
    if event == "hang":
        time.sleep(1000)
    if event == "kill":
        os.kill(os.getpid(), signal.SIGKILL)

class Game(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(100)

    def reset(self, *, seed=None, options=None):
        self.event, self.ticks = (options or {}).get("event"), 0
        return 0, {"pid": os.getpid(), "channel": os.environ["RLAY_CHANNEL"]}

    def step(self, action):
        happen(self.event)
        self.ticks += 1
        return self.ticks, float(action), False, False, {}

happen(what)
"""
ASKS = GAME + "rlay.ClientBackend(Game()).run()\n"
ANSWERS = GAME + "rlay.ServerBackend(Game()).run()\n"


@pytest.fixture
def game(tmp_path: Path, channel_directory: Path) -> list[str]:
    """The command of a game that asks for decisions."""
    (tmp_path / "game.py").write_text(ASKS)
    return [sys.executable, str(tmp_path / "game.py")]


@pytest.fixture
def backend(tmp_path: Path, channel_directory: Path) -> list[str]:
    """The command of a game that answers."""
    (tmp_path / "backend.py").write_text(ANSWERS)
    return [sys.executable, str(tmp_path / "backend.py")]


@pytest.fixture
def made(channel_directory: Path) -> Any:
    """Make environments that are closed at the test's end."""
    envs: list[Any] = []

    def make(kind: Any, *arguments: Any, **options: Any) -> Any:
        env = kind(*arguments, **options)
        envs.append(env)
        return env

    yield make
    for env in envs:
        env.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


# ------------------------------------------------------------------------- it works


@pytest.mark.parametrize("kind", ["ServerEnv", "ClientEnv"])
def test_environment_starts_its_game_and_ends_it(made, game, backend, kind):
    """Whoever of the two drives; with a name that nobody else has."""
    command = game if kind == "ServerEnv" else backend
    env = made(getattr(rlay, kind), launch=command)
    pid = env.reset(seed=1)[1]["pid"]
    assert env.step(7)[:2] == (1, 7.0)
    assert alive(pid)
    env.close()
    assert not alive(pid)


@pytest.mark.parametrize("kind", ["ServerEnv", "ClientEnv"])
def test_game_is_started_through_the_registry(game, backend, kind):
    """``gymnasium.make`` passes the argument on, and ``spec`` keeps it."""
    command = game if kind == "ServerEnv" else backend
    env = gymnasium.make(f"rlay/{kind}-v0", name="one", launch=command)
    assert env.spec is not None
    again = gymnasium.make(env.spec, name="two")
    try:
        assert env.reset()[1]["channel"] == "one"
        assert again.reset()[1]["channel"] == "two"
    finally:
        env.close()
        again.close()


@pytest.mark.parametrize("kind", ["ServerVectorEnv", "ClientVectorEnv"])
def test_vector_starts_a_game_for_each_lane(made, game, backend, kind):
    """On the channels where it looks; all of them end with it."""
    command = game if kind == "ServerVectorEnv" else backend
    envs = made(getattr(rlay, kind), "many", 3, launch=command)
    infos = envs.reset()[1]
    assert sorted(infos["channel"]) == ["many.0", "many.1", "many.2"]
    assert envs.step(np.arange(3))[1].tolist() == [0.0, 1.0, 2.0]
    envs.close()
    assert not any(map(alive, infos["pid"].tolist()))


def test_vector_of_named_channels_starts_a_game_for_each(made, backend):
    """A list of names stands for exactly those."""
    envs = made(rlay.ClientVectorEnv, ["red", "blue"], launch=backend)
    assert envs.reset()[1]["channel"].tolist() == ["red", "blue"]


def test_game_with_several_environments_is_one_instance(made, tmp_path, game):
    """The dict says how many are started."""
    code = ASKS.replace("Game())", "Game, num_envs=4)")
    (tmp_path / "game.py").write_text(code)
    launch = {"command": game, "instances": 1}
    envs = made(rlay.ServerVectorEnv, "many", 4, launch=launch)
    assert len(set(envs.reset()[1]["pid"].tolist())) == 1


def test_game_with_several_environments_that_answers_is_started_again(
    made, tmp_path, backend
):
    """Where one channel carries them all."""
    code = ANSWERS.replace("Game())", "Game, num_envs=4)")
    (tmp_path / "backend.py").write_text(code)
    launch = {"command": backend, "instances": 1}
    envs = made(rlay.ClientVectorEnv, "many", 4, launch=launch)
    (pid,) = set(envs.reset()[1]["pid"].tolist())
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(rlay.EnvLost, match="'many' was ended by signal SIGKILL"):
        envs.step(np.zeros(4, int))
    assert pid not in envs.reset()[1]["pid"]
    assert envs.step(np.arange(4))[1].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_game_attaches_directly_by_the_address_in_its_environment(made, tmp_path, game):
    """With ``listen=`` a game without mapped files finds the bridge."""
    code = ASKS.replace("Game())", 'Game(), name=os.environ["RLAY_ADDRESS"])')
    (tmp_path / "game.py").write_text(code)
    env = made(rlay.ServerEnv, "game", listen="127.0.0.1:0", launch=game)
    assert env.reset()[1]["channel"] == "game"
    assert env.step(5)[1] == 5.0


def test_unclosed_environment_takes_its_game_along(game):
    """When it is collected; nobody waits for it."""
    env: Any = rlay.ServerEnv(launch=game)
    pid = env.reset()[1]["pid"]
    keeper = env._launch.programs[0]._child._keeper
    del env
    wait_until(lambda: not alive(pid), LIMIT_S)
    keeper.wait(LIMIT_S)


# ------------------------------------------------------------------- which stage failed


@pytest.mark.parametrize(
    "kind", ["ServerEnv", "ClientEnv", "ServerVectorEnv", "ClientVectorEnv"]
)
def test_game_that_cannot_be_executed_says_so_in_the_constructor(
    channel_directory, kind
):
    """No channel is left."""
    with pytest.raises(rlay.LaunchFailed, match="cannot be executed") as caught:
        getattr(rlay, kind)("g", launch="/no/such/game")
    assert caught.value.stage == "execute"


@pytest.mark.parametrize("kind", ["ServerEnv", "ClientVectorEnv"])
def test_misspelt_option_is_named_before_a_name_is_drawn(channel_directory, kind):
    """Also where the command is what was misspelt."""
    with pytest.raises(ValueError, match="has no 'comand': it may have"):
        getattr(rlay, kind)(launch={"comand": "game"})


@pytest.mark.parametrize("kind", ["ServerEnv", "ServerVectorEnv"])
def test_game_that_ends_before_it_joins_says_how(made, game, kind):
    """At once, not after ``connect_timeout``; the next reset tries again."""
    env = made(getattr(rlay, kind), "g", launch=[*game, "exit 3"], connect_timeout=None)
    for _ in range(2):
        with pytest.raises(rlay.LaunchFailed) as caught:
            env.reset()
        assert caught.value.stage == "attach"
        assert str(caught.value) == (
            f"'{game[1]}' of channel 'g' exited with code 3 before it attached to its "
            "channel. Its last lines:\n    the game starts for g"
        )


@pytest.mark.parametrize("kind", ["ClientEnv", "ClientVectorEnv"])
def test_game_that_ends_before_it_serves_says_how(backend, kind):
    """At once, from the constructor."""
    command = [*backend, "exit 3"]
    with pytest.raises(rlay.LaunchFailed) as caught:
        getattr(rlay, kind)("g", launch=command, connect_timeout=None)
    assert caught.value.stage == "attach"
    assert "exited with code 3 before it attached" in str(caught.value)


def test_one_of_several_games_that_ends_early_is_named(tmp_path, backend):
    """The others are ended too."""
    first = GAME.replace("happen(what)", "happen('exit 3' * ('.1' in what))")
    (tmp_path / "backend.py").write_text(first + "rlay.ServerBackend(Game()).run()\n")
    command = [*backend, "{channel}"]
    with pytest.raises(rlay.LaunchFailed, match=r"channel 'g\.1' exited with code 3"):
        rlay.ClientVectorEnv("g", 3, launch=command)


@pytest.mark.parametrize("kind", ["ServerEnv", "ServerVectorEnv"])
def test_game_that_never_joins_says_so(made, game, kind):
    """With its last lines; it was ended, and the next reset starts another one."""
    env = made(getattr(rlay, kind), "g", launch=[*game, "hang"], connect_timeout=3)
    with pytest.raises(rlay.ConnectTimeout) as caught:
        env.reset()
    text = str(caught.value)
    assert f"'{game[1]}' of channel 'g' was started, but did not attach in time" in text
    assert text.endswith("It was ended. Its last lines:\n    the game starts for g")
    assert env._launch.running == (False,)


def test_game_of_the_other_kind_never_attaches(game):
    """It waits for a trainer, where an answer is waited for."""
    with pytest.raises(rlay.ConnectTimeout, match="did not attach in time"):
        rlay.ClientEnv("g", launch=game, connect_timeout=3)


@pytest.mark.parametrize("kind", ["ServerEnv", "ServerVectorEnv"])
def test_game_that_greets_wrongly_says_what_is_wrong(made, game, kind):
    """At once; that it attached, and its last lines."""
    space = gymnasium.spaces.Discrete(3)
    env = made(
        getattr(rlay, kind), "g", launch=game, observation_space=space,
        action_space=SPACE, connect_timeout=None,
    )  # fmt: skip
    with pytest.raises(rlay.SpaceMismatch) as caught:
        env.reset()
    text = str(caught.value)
    assert "this end has Discrete(3), the other Discrete(100)" in text
    assert "The game attached, but the greeting failed" in text
    assert "    the game starts for g" in text


# ------------------------------------------------------------------------- it dies


@pytest.mark.parametrize("kind", ["ServerEnv", "ClientEnv"])
def test_game_that_dies_says_how_and_is_started_again(made, game, backend, kind):
    """By the next reset, in a new process."""
    command = game if kind == "ServerEnv" else backend
    env = made(getattr(rlay, kind), "g", launch=command)
    first = env.reset(options={"event": "kill"})[1]["pid"]
    with pytest.raises(rlay.EnvLost) as caught:
        env.step(0)
    text = str(caught.value)
    assert "of channel 'g' was ended by signal SIGKILL" in text
    assert text.endswith("Its last lines:\n    the game starts for g")
    assert env.reset()[1]["pid"] != first
    assert env.step(3)[1] == 3.0


def test_game_that_dies_too_often_is_not_started_again(made, game):
    """The quota's message names the last end."""
    env = made(rlay.ServerEnv, "g", launch={"command": game, "restarts": 1})
    for _ in range(2):
        env.reset(options={"event": "kill"})
        with pytest.raises(rlay.EnvLost):
            env.step(0)
    with pytest.raises(rlay.EnvLost, match=r"quota of 1 restarts .* signal SIGKILL"):
        env.reset()
    assert isinstance(env._launch.programs[0].quota, RestartQuota)


@pytest.mark.parametrize("kind", ["ServerVectorEnv", "ClientVectorEnv"])
@pytest.mark.parametrize("on_lane_lost", ["truncate", "wait"])
def test_lane_whose_game_dies_gets_another_one(made, game, backend, kind, on_lane_lost):
    """Started by the vector itself, while the others go on."""
    command = game if kind == "ServerVectorEnv" else backend
    envs = made(getattr(rlay, kind), "g", 2, launch=command, on_lane_lost=on_lane_lost)
    pids = envs.reset()[1]["pid"]
    os.kill(int(pids[1]), signal.SIGKILL)
    actions = np.array([1, 2])
    lost = envs.step(actions)
    assert lost[3].tolist() == [False, True]

    def back() -> bool:
        return "rlay" not in envs.step(actions)[4]

    wait_until(back, LIMIT_S)
    rewards = envs.step(actions)[1].tolist()
    assert rewards == [1.0, 2.0]
    new = envs.reset()[1]["pid"]
    assert new[0] == pids[0]
    assert new[1] != pids[1]


@pytest.mark.parametrize("kind", ["ServerVectorEnv", "ClientVectorEnv"])
def test_vector_whose_game_dies_starts_it_again_at_reset(made, game, backend, kind):
    """Where a loss is raised; the error says which and how."""
    command = game if kind == "ServerVectorEnv" else backend
    envs = made(getattr(rlay, kind), "g", 2, launch=command)
    pids = envs.reset()[1]["pid"]
    os.kill(int(pids[1]), signal.SIGKILL)
    with pytest.raises(rlay.EnvLost, match=r"'g\.1' was ended by signal SIGKILL"):
        envs.step(np.zeros(2, int))
    new = envs.reset()[1]["pid"]
    assert new[0] == pids[0]
    assert new[1] != pids[1]


def own(command: list[str], path: str) -> None:
    """Make an environment, write its game's process id, and hang."""
    globals()["env"] = env = rlay.ServerEnv("g", launch=command)
    Path(path).write_text(str(env.reset()[1]["pid"]))
    signal.pause()


@pytest.mark.leaves_files
def test_killed_trainer_takes_its_game_along(children, game, tmp_path):
    """By SIGKILL."""
    owner = children.start(own, game, str(tmp_path / "pid"))
    path = tmp_path / "pid"
    pid = int(wait_until(lambda: path.exists() and path.read_text(), LIMIT_S))
    assert alive(pid)
    owner.kill()
    wait_until(lambda: not alive(pid), LIMIT_S)
