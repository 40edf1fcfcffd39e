"""``rlay run``: a game as a new user starts it, and as it goes wrong."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import rlay
from tests.support.waiting import wait_until

LIMIT_S = 30.0
ASKS = """
import os, sys
import gymnasium, rlay

class Game(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(100)

    def reset(self, *, seed=None, options=None):
        self.event = (options or {}).get("event")
        return 0, {"pid": os.getpid(), "channel": os.environ["RLAY_CHANNEL"]}

    def step(self, action):
        if self.event == "crash":
            os._exit(9)
        return 1, float(action), False, False, {}

rlay.ClientBackend(Game()).run()
"""


@pytest.fixture
def write(here: Path) -> Any:
    """Write a shell script into the current directory of ``rlay``."""

    def write_script(text: str, name: str = "game.sh") -> None:
        (here / name).write_text(f"#!/bin/sh\n{text}\n")
        (here / name).chmod(0o755)

    return write_script


@pytest.fixture
def asks(here: Path) -> list[str]:
    """The command of a game that asks for decisions."""
    (here / "asks.py").write_text(ASKS)
    return [sys.executable, "asks.py"]


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def pid_in(path: Path) -> int:
    """Wait until a process wrote its id into a file; return it."""
    return int(wait_until(lambda: path.exists() and path.read_text(), LIMIT_S))


def test_game_gets_its_words_and_its_channel(rlay_command, write):
    """Named after the program; what it writes is shown as it is."""
    write('echo "$RLAY_CHANNEL: $@"')
    run = rlay_command("run", "--", "./game.sh", "--level", "3")
    run.wait()
    assert "game: --level 3 --rlay-channel=game\n" in run.stderr
    assert "game is done" in run.stderr


def test_words_of_the_game_need_no_dashes_in_front(rlay_command, write):
    """Whatever stands behind the program is the game's own."""
    write('echo "$@"')
    run = rlay_command("run", "--no-channel-argument", "./game.sh", "--name", "-n")
    run.wait()
    assert "--name -n" in run.stderr.splitlines()


def test_instances_join_a_vector(rlay_command, asks, channel_directory):
    """Each by its own channel; Ctrl-C ends all of them."""
    run = rlay_command("run", "--name", "many", "-n", "2", "--", *asks)
    envs = rlay.ServerVectorEnv("many", 2)
    infos = envs.reset()[1]
    assert infos["channel"].tolist() == ["many.0", "many.1"]
    wait_until(lambda: run.stderr.count("has attached to channel") == 2, LIMIT_S)
    envs.close()
    run.send_signal(signal.SIGINT)
    run.wait()
    assert not any(map(alive, infos["pid"].tolist()))


def test_crashed_game_is_started_again(rlay_command, asks, channel_directory):
    """With --restart; the trainer goes on."""
    run = rlay_command("run", "--name", "one", "--restart", "--", *asks)
    env = rlay.ServerEnv("one")
    first = env.reset(options={"event": "crash"})[1]["pid"]
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    assert env.reset()[1]["pid"] != first
    env.close()
    run.send_signal(signal.SIGTERM)
    run.wait()
    assert "one exited with code 9; starting it again" in run.stderr


def test_logs_keep_what_each_instance_wrote(rlay_command, write, here):
    """And nothing of it is shown."""
    write('echo "hello from $RLAY_CHANNEL"')
    run = rlay_command(
        "run", "--name", "g", "-n", "2", "--logs", "logs", "--", "./game.sh"
    )
    run.wait()
    assert (here / "logs" / "g.0.log").read_text() == "hello from g.0\n"
    assert (here / "logs" / "g.1.log").read_text() == "hello from g.1\n"
    assert "hello" not in run.stderr


def test_variables_are_passed_on(rlay_command, write):
    """--env may be repeated."""
    write('echo "$COLOUR $SHAPE"')
    run = rlay_command("run", "--env", "COLOUR=red", "--env", "SHAPE=a=b", "./game.sh")
    run.wait()
    assert "red a=b" in run.stderr.splitlines()


# --------------------------------------------------------------------- it goes wrong


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--", "./gmae.sh"], "Did you mean"),
        (["--", "game.sh"], "write ./game.sh"),
        (["--", "./game.py"], "chmod +x"),
        (["--", "."], "there is no such program"),
        ([], "Missing argument 'PROGRAM'"),
        (["--headless", "./game.sh"], "'./game.sh' is not one of 'unity'"),
        (["--env", "COLOUR", "./game.sh"], "write VAR=VALUE"),
        (["--cwd", "nowhere", "./game.sh"], "'nowhere' does not exist"),
        (["--instances", "0", "./game.sh"], "0 is not in the range"),
    ],
)
def test_wrong_call_says_what_is_wrong(rlay_command, write, words, text):
    """Exit code 2, and nothing was started."""
    write("")
    run = rlay_command("run", *words)
    run.wait(exit_code=2)
    assert text in run.stderr
    assert "started" not in run.stderr


def test_game_of_another_system_is_a_wrong_call(rlay_command, here):
    """Which is known only once the system has refused it."""
    (here / "game").write_bytes(b"\x00\x01")
    (here / "game").chmod(0o755)
    run = rlay_command("run", "--", "./game")
    run.wait(exit_code=2)
    assert "another system or processor" in run.stderr


def test_game_that_ends_early_says_at_which_stage(rlay_command, write):
    """Its last lines stand above."""
    write("echo no licence; exit 3")
    run = rlay_command("run", "--", "./game.sh")
    run.wait(exit_code=1)
    assert "no licence\n" in run.stderr
    assert "game exited with code 3 before it attached to its channel" in run.stderr


def test_early_end_of_one_of_several_has_its_last_lines(rlay_command, write, here):
    """Where they do not stand above, or others' lines stand between."""
    write("echo no licence; exit 3")
    run = rlay_command("run", "--name", "g", "--logs", "logs", "--", "./game.sh")
    run.wait(exit_code=1)
    assert "g exited with code 3 before it attached to its channel" in run.stderr
    assert "g: Its last lines:\n    no licence\n" in run.stderr
    assert f"All that it wrote is in {here}/logs/g.log" in run.stderr


def test_game_that_never_attaches_is_ended_where_that_is_wished(rlay_command, write):
    """After --connect-timeout, with the reason."""
    write("echo loading; exec sleep 1000")
    run = rlay_command("run", "--connect-timeout", "0.5", "--", "./game.sh")
    run.wait(exit_code=1)
    assert "because it had not attached within 0.5 s" in run.stderr


def test_game_that_prints_a_lot_is_not_in_the_way(rlay_command, write, here):
    """All of it is kept, and its end is noticed."""
    write("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 5")
    run = rlay_command("run", "--name", "g", "--logs", "logs", "--", "./game.sh")
    run.wait(exit_code=1)
    assert (here / "logs" / "g.log").read_text().endswith("line 19998\nline 19999\n")
    assert "    line 19999" in run.stderr
    assert "    line 19900" not in run.stderr


def test_game_that_ignores_sigterm_is_killed(rlay_command, write, here):
    """After --grace-s."""
    write("trap '' TERM; echo $$ > new; mv new pid; while :; do sleep 1; done")
    run = rlay_command("run", "--grace-s", "0.2", "--", "./game.sh")
    pid = pid_in(here / "pid")
    run.send_signal(signal.SIGTERM)
    run.wait()
    assert not alive(pid)


def test_script_that_leaves_its_game_running_is_told(rlay_command, write, here):
    """The game ended with it, so nobody would ever attach."""
    write("sleep 1000 & echo $! > new; mv new pid")
    run = rlay_command("run", "--", "./game.sh")
    run.wait()
    assert "running, which ended with it: a script that starts the game" in run.stderr
    assert not alive(pid_in(here / "pid"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_end_of_the_command_ends_the_whole_tree(rlay_command, write, here, number):
    """Children of the game too, that left its session; by any signal."""
    write("setsid sleep 1000 & echo $! $$ > new; mv new pids; wait")
    run = rlay_command("run", "--", "./game.sh")
    path = here / "pids"
    pids = wait_until(lambda: path.exists() and path.read_text(), LIMIT_S).split()
    assert all(alive(int(pid)) for pid in pids)
    os.kill(run.pid, number)
    run.wait(exit_code=-number if number == signal.SIGKILL else 0)
    wait_until(lambda: not any(alive(int(pid)) for pid in pids), LIMIT_S)
