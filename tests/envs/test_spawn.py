"""``rlay.spawn``: an environment and its process, from one end to the other."""

import multiprocessing
import os
import signal
import site
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

import rlay
from rlay.processes.quota import RestartQuota
from tests.support.children import ROOT
from tests.support.equality import assert_identical
from tests.support.waiting import wait_until

LIMIT_S = 30.0
GAME = """
import ctypes, os, signal, sys, time
import gymnasium, numpy

class Game(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}
    observation_space = gymnasium.spaces.Discrete(10)
    action_space = gymnasium.spaces.Discrete(10)
    level = 7

    def __init__(self, at_start="nothing", at_close="nothing", render_mode=None):
        self.render_mode, self.at_close = render_mode, at_close
        print("the game starts", flush=True)
        self.happen(at_start)

    def happen(self, what):
        print("now:", what)
        if what == "exit 3":
            sys.exit(3)
        if what == "exit 0":
            sys.exit(0)
        if what == "exit text":
            sys.exit("out of levels")
        if what == "_exit 4":
            os._exit(4)
        if what == "segfault":
            ctypes.string_at(0)
        if what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "raise":
            raise ValueError("no such level")
        if what == "hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            ctypes.PyDLL(None).sleep(1000)

    def reset(self, *, seed=None, options=None):
        options = options or {}
        self.what = options.get("what", "nothing")
        info = {"pid": os.getpid(), "prefix": sys.prefix, "cwd": os.getcwd()}
        return 0, {**info, "colour": os.environ.get("COLOUR", "")}

    def step(self, action):
        self.happen(self.what)
        return 1, 0.5, False, False, {}

    def render(self):
        return numpy.full((2, 3, 3), 9, numpy.uint8)

    def close(self):
        self.happen(self.at_close)
"""
TARGET = "game:Game"


@pytest.fixture
def here(tmp_path: Path, channel_directory: Path) -> Path:
    """A directory with the module ``game``."""
    (tmp_path / "game.py").write_text(GAME)
    return tmp_path


@pytest.fixture
def spawn(here: Path) -> Any:
    """Spawn from that directory; what is left open is closed at the test's end."""
    made = []

    def spawn_here(target: str = TARGET, **options: Any) -> Any:
        env = rlay.spawn(target, cwd=here, **options)
        made.append(env)
        return env

    yield spawn_here
    for env in made:
        env.close()


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def read_pid(path: Path) -> int:
    """Wait until a process wrote its id into a file; return it."""
    return int(wait_until(lambda: path.exists() and path.read_text(), LIMIT_S))


# ------------------------------------------------------------------- it works


def test_spawned_environment_returns_what_one_in_this_process_does(channel_directory):
    """The same trajectory, to the last bit."""
    with gymnasium.make("CartPole-v1") as local:
        remote = rlay.spawn("CartPole-v1")
        assert_identical(remote.reset(seed=5), local.reset(seed=5))
        for action in (0, 1, 1, 0, 1) * 10:
            expected = local.step(action)
            assert_identical(remote.step(action), expected)
            if expected[2]:
                assert_identical(remote.reset(seed=6), local.reset(seed=6))
        remote.close()


def test_spawned_environment_is_a_client_env(spawn):
    """Whatever takes one takes it."""
    assert isinstance(spawn(), rlay.ClientEnv)


def test_spawned_environment_lives_in_a_process_of_its_own(spawn):
    """Which runs while the environment is open, and has ended after close."""
    env = spawn()
    pid = env.reset()[1]["pid"]
    assert pid != os.getpid()
    assert alive(pid)
    env.close()
    assert not alive(pid)


def test_close_leaves_no_files(spawn, channel_directory):
    """Twice is harmless."""
    env = spawn()
    env.reset()
    assert len(list(channel_directory.iterdir())) == 1
    env.close()
    env.close()
    assert list(channel_directory.iterdir()) == []


def test_spawn_in_a_directory_imports_from_there(spawn, here):
    """The process's current directory is ``cwd``."""
    assert spawn().reset()[1]["cwd"] == str(here)


def test_spawn_adds_and_removes_environment_variables(spawn, monkeypatch):
    """What is not named is as it is here."""
    monkeypatch.setenv("COLOUR", "blue")
    assert spawn().reset()[1]["colour"] == "blue"
    assert spawn(env={"COLOUR": "red"}).reset()[1]["colour"] == "red"
    assert spawn(env={"COLOUR": None}).reset()[1]["colour"] == ""


def test_spawn_with_another_interpreter_runs_that_one(spawn, tmp_path):
    """``python`` is the one of another virtual environment."""
    other = tmp_path / "other"
    command = [sys.executable, "-m", "venv", "--without-pip", other]
    subprocess.run(command, check=True)
    path = os.pathsep.join([str(ROOT), *site.getsitepackages()])
    env = spawn(python=other / "bin" / "python", env={"PYTHONPATH": path})
    assert env.reset()[1]["prefix"] == str(other)


def test_spawn_passes_kwargs_and_allowed_names(spawn):
    """Attributes that are allowed can be used from here."""
    env = spawn(kwargs={"at_close": "nothing"}, allow=["level", "at_close"])
    assert env.level == 7
    assert env.at_close == "nothing"


def test_spawn_passes_the_render_mode(spawn):
    """A factory gets it as a keyword argument."""
    env = spawn(render_mode="rgb_array")
    env.reset()
    assert env.render_mode == "rgb_array"
    assert env.render().tolist() == [[[9] * 3] * 3] * 2


def test_spawn_collects_frames_here(spawn):
    """``rgb_array_list`` is made of the backend's ``rgb_array``."""
    env = spawn(render_mode="rgb_array_list")
    env.reset()
    env.step(0)
    assert [frame.shape for frame in env.render()] == [(2, 3, 3)] * 2


def test_spawn_of_several_is_a_vector_environment(spawn):
    """All in one process, stepped as one batch."""
    envs = spawn(num_envs=3)
    assert isinstance(envs, rlay.ClientVectorEnv)
    assert envs.num_envs == 3
    pids = envs.reset()[1]["pid"]
    assert len(set(pids.tolist())) == 1
    assert envs.step(np.zeros(3, int))[1].tolist() == [0.5] * 3
    envs.close()
    assert not alive(int(pids[0]))


def test_spec_makes_the_same_environment_again(spawn):
    """``gymnasium.make(env.spec)`` spawns another process."""
    env = spawn(kwargs={"at_close": "nothing"})
    again = gymnasium.make(env.spec)
    try:
        assert again.reset()[1]["pid"] != env.reset()[1]["pid"]
    finally:
        again.close()


# ------------------------------------------------------------- it cannot start


def start_error(kind: type[BaseException], **options: Any) -> str:
    """Spawn, which must fail; no limit in seconds saves it from waiting for ever."""
    with pytest.raises(kind) as caught:
        rlay.spawn(connect_timeout=None, **options)
    return str(caught.value)


def test_spawn_of_a_misspelt_id_names_the_right_one(channel_directory):
    """At once, with the other process's own words."""
    text = start_error(rlay.EnvLost, target="CartPol-v1")
    assert "'CartPol-v1' is not served: its process exited with code 2" in text
    assert "Did you mean CartPole-v1" in text


def test_spawn_of_a_missing_module_says_where_it_looked(here):
    """Which is the process's directory, not this one's."""
    text = start_error(rlay.EnvLost, target="gamee:Game", cwd=here)
    assert f"module 'gamee' cannot be imported from {here}" in text
    assert "Did you mean game:Game?" in text


def test_spawn_with_a_python_without_rlay_says_so(channel_directory, tmp_path):
    """And what to do about it."""
    bare = tmp_path / "bare"
    command = [sys.executable, "-m", "venv", "--without-pip", bare]
    subprocess.run(command, check=True)
    python = bare / "bin" / "python"
    text = start_error(
        rlay.EnvLost, target="CartPole-v1", python=python, env={"PYTHONPATH": None},
        cwd=tmp_path,
    )  # fmt: skip
    assert "No module named rlay" in text
    assert f"{python} has no rlay, or another one of that name: install" in text


def test_spawn_with_a_missing_python_says_so(channel_directory):
    """Nothing was started."""
    text = start_error(ValueError, target="CartPole-v1", python="/no/such/python")
    assert "python='/no/such/python': there is no such program" in text


def test_spawn_in_a_missing_directory_says_so(channel_directory):
    """Nothing was started."""
    text = start_error(ValueError, target="CartPole-v1", cwd="/no/such/directory")
    assert text == "cwd='/no/such/directory': there is no such directory"


def test_spawn_with_a_program_that_is_no_python_shows_what_it_said(channel_directory):
    """Whatever it is, it ends, and that is noticed."""
    text = start_error(rlay.EnvLost, target="CartPole-v1", python="false")
    assert "'CartPole-v1' is not served: its process exited with code 1" in text


def test_spawn_with_kwargs_that_cannot_travel_names_the_place(channel_directory):
    """Nothing was started."""
    text = start_error(ValueError, target="CartPole-v1", kwargs={"size": (1, 2)})
    assert text.startswith("kwargs['size'] is a tuple")


def test_a14_spawn_whose_environment_raises_says_what(here, channel_directory):
    """With the traceback of the other process."""
    text = start_error(
        rlay.RemoteEnvError, target=TARGET, cwd=here, kwargs={"at_start": "raise"}
    )
    assert text.startswith("ValueError: no such level")
    assert 'raise ValueError("no such level")' in text


@pytest.mark.parametrize(
    ("what", "ending"),
    [
        ("exit 3", "exited with code 3"),
        ("_exit 4", "exited with code 4"),
        ("segfault", "was ended by signal SIGSEGV"),
        ("kill", "was ended by signal SIGKILL"),
    ],
)
def test_a15_spawn_whose_environment_ends_the_process_says_how(
    here, channel_directory, what, ending
):
    """At once, with the last lines; no files are left."""
    text = start_error(rlay.EnvLost, target=TARGET, cwd=here, kwargs={"at_start": what})
    assert f"'game:Game' is not served: its process {ending}" in text
    assert f"    now: {what}" in text


def test_spawn_that_takes_too_long_is_given_up(here, channel_directory):
    """The process is ended, although it hangs in C code; no files are left."""
    with pytest.raises(rlay.ConnectTimeout) as caught:
        rlay.spawn(TARGET, cwd=here, kwargs={"at_start": "hang"}, connect_timeout=3)
    text = str(caught.value)
    assert "the process of 'game:Game' was started, but did not serve in time" in text
    assert "was ended by signal SIGKILL" in text


# --------------------------------------------------------------------- it dies


@pytest.mark.parametrize(
    ("what", "ending"),
    [
        ("exit 3", "exited with code 3"),
        ("exit 0", "exited with code 1"),  # nobody takes that for a good end
        ("exit text", "exited with code 1"),
        ("_exit 4", "exited with code 4"),
        ("segfault", "was ended by signal SIGSEGV (it crashed in C code)"),
        ("kill", "was ended by signal SIGKILL (killed from outside, or out of memory)"),
    ],
)
def test_a15_environment_that_ends_its_process_says_how(spawn, what, ending):
    """EnvLost has the exit code or the signal, and the last lines."""
    env = spawn()
    env.reset(options={"what": what})
    with pytest.raises(rlay.EnvLost) as caught:
        env.step(0)
    text = str(caught.value)
    assert f"Its process {ending}. Its last lines:\n" in text
    assert f"    now: {what}\n" in text + "\n"
    assert caught.value.executed is None


def test_a15_segfault_shows_where_python_was(spawn):
    """Among the last lines is the stack of the other process."""
    env = spawn()
    env.reset(options={"what": "segfault"})
    with pytest.raises(rlay.EnvLost, match=r"Fatal Python error(.|\n)*game\.py"):
        env.step(0)


def test_a15_vector_environment_that_ends_its_process_says_how(spawn):
    """As a single one."""
    envs = spawn(num_envs=2)
    envs.reset(options={"what": "_exit 4"})
    with pytest.raises(rlay.EnvLost, match="Its process exited with code 4"):
        envs.step(np.zeros(2, int))
    assert len(envs.reset()[0]) == 2


def test_lost_environment_is_started_again_by_reset(spawn):
    """In a new process; the old one's channel is replaced."""
    env = spawn()
    first = env.reset(options={"what": "kill"})[1]["pid"]
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    second = env.reset()[1]["pid"]
    assert second != first
    assert env.step(0)[1] == 0.5


def test_environment_that_is_lost_too_often_is_not_started_again(spawn):
    """The quota's message names the last end."""
    env = spawn()
    env._process.quota = RestartQuota(limit=1)
    for _ in range(2):
        env.reset(options={"what": "_exit 4"})
        with pytest.raises(rlay.EnvLost):
            env.step(0)
    with pytest.raises(
        rlay.EnvLost, match=r"quota of 1 restarts .* exited with code 4"
    ):
        env.reset()


def test_environment_lost_while_it_is_idle_says_so_at_the_next_step(spawn):
    """A process that was killed meanwhile is noticed by whoever uses it."""
    env = spawn()
    os.kill(env.reset()[1]["pid"], signal.SIGKILL)
    with pytest.raises(rlay.EnvLost, match="SIGKILL"):
        env.step(0)


def test_close_of_a_lost_environment_leaves_nothing(spawn, channel_directory):
    """Not the files of a process that could not remove them."""
    env = spawn()
    env.reset(options={"what": "kill"})
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    env.close()
    assert list(channel_directory.iterdir()) == []


def test_close_of_an_environment_that_hangs_in_a_step_kills_it(spawn):
    """In C code that holds the GIL, where no handler of Python's runs."""
    env = spawn(step_timeout=0.3, close_timeout=0.3)
    pid = env.reset(options={"what": "hang"})[1]["pid"]
    with pytest.raises(rlay.StepTimeout):
        env.step(0)
    env.close()
    assert not alive(pid)


def test_close_of_an_environment_that_hangs_in_close_kills_it(spawn):
    """After ``close_timeout``, and a second."""
    env = spawn(close_timeout=0.3, kwargs={"at_close": "hang"})
    pid = env.reset()[1]["pid"]
    env.close()
    assert not alive(pid)


# ------------------------------------------------------------- its owner ends


def own(directory: str, path: str, what: str, then: str) -> None:
    """Spawn, write the environment's process id, step, and end in some way."""
    import rlay

    globals()["env"] = env = rlay.spawn(TARGET, cwd=directory)
    _, info = env.reset(options={"what": what})
    Path(path).write_text(str(info["pid"]))
    if then == "step":
        env.step(0)
    elif then == "pause":
        signal.pause()
    elif then == "raise":
        raise RuntimeError("a bug in the algorithm")


@pytest.mark.leaves_files
@pytest.mark.parametrize(
    ("what", "then"), [("nothing", "pause"), ("hang", "step")], ids=["idle", "hangs"]
)
def test_killed_owner_takes_the_environment_along(children, here, what, then):
    """By SIGKILL, also while the environment hangs in C code."""
    owner = children.start(own, here, here / "pid", what, then)
    pid = read_pid(here / "pid")
    owner.kill()
    wait_until(lambda: not alive(pid), LIMIT_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_owner_ended_by_a_signal_leaves_no_process_and_no_files(
    children, here, channel_directory, number
):
    """The environment's process has the time to say goodbye and to tidy up."""
    owner = children.start(own, here, here / "pid", "nothing", "pause")
    pid = read_pid(here / "pid")
    owner.send_signal(number)
    owner.wait(exit_code=None)
    wait_until(lambda: not alive(pid), LIMIT_S)
    wait_until(lambda: list(channel_directory.iterdir()) == [], LIMIT_S)


@pytest.mark.parametrize(("then", "code"), [("end", 0), ("raise", 1)])
def test_owner_that_forgets_to_close_leaves_nothing_behind(
    children, here, channel_directory, then, code
):
    """When its exit code is known, the process has ended and the files are gone."""
    owner = children.start(own, here, here / "pid", "nothing", then)
    owner.wait(exit_code=code)
    assert not alive(read_pid(here / "pid"))
    assert list(channel_directory.iterdir()) == []


def test_collected_environment_takes_its_process_along(spawn, here, channel_directory):
    """Nobody is left who could use it."""
    env: Any = rlay.spawn(TARGET, cwd=here)
    pid = env.reset()[1]["pid"]
    keeper = env._process._child._keeper
    del env
    wait_until(lambda: not alive(pid), LIMIT_S)
    wait_until(lambda: list(channel_directory.iterdir()) == [], LIMIT_S)
    keeper.wait(LIMIT_S)


def test_a21_forked_child_leaves_the_environment_to_its_parent(spawn):
    """It is refused, and its end does not end the process."""
    env = spawn()
    pid = env.reset()[1]["pid"]
    forked = multiprocessing.get_context("fork").Process(
        target=use_and_close, args=[env]
    )
    forked.start()
    forked.join(LIMIT_S)
    assert forked.exitcode == 0
    assert alive(pid)
    assert env.step(0)[1] == 0.5


def use_and_close(env: Any) -> None:
    with pytest.raises(rlay.ForkedError):
        env.step(0)
    env.close()


def test_a22_program_that_the_environment_started_ends_with_it(channel_directory, here):
    """Also one that the environment forgot."""
    (here / "launcher.py").write_text(
        textwrap.dedent(
            """
            import subprocess, sys
            import game

            def make():
                subprocess.Popen([sys.executable, "-c", '''
            import os, time
            open("pid", "w").write(str(os.getpid()))
            time.sleep(1000)
            '''])
                return game.Game()
            """
        )
    )
    env = rlay.spawn("launcher:make", cwd=here)
    pid = read_pid(here / "pid")
    assert alive(pid)
    env.close()
    assert not alive(pid)


def test_spawned_process_survives_the_thread_that_spawned_it(spawn):
    """A thread of a pool may end; the environment is the process's."""
    import threading

    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(spawn()))
    thread.start()
    thread.join()
    pid = made[0].reset()[1]["pid"]
    time.sleep(0.3)  # the time in which a signal of the kernel would have come
    assert alive(pid)
    assert made[0].step(0)[1] == 0.5
