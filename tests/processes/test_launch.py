"""``rlay.launch``: what a game is started with, and that it ends."""

import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

import rlay
from rlay.processes.launch import prepared, subject_of
from tests.support.waiting import wait_until

LIMIT_S = 30.0
DAEMON = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("new", "w").write(str(os.getpid()))
        os.rename("new", "daemon")
        while True:
            time.sleep(1)
    os._exit(0)
os.wait()
while not os.path.exists("daemon"):
    time.sleep(0.01)
"""
"""Starts a program that leaves its session and its parent, and hears no SIGTERM."""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    time.sleep(1)
"""
TOLD = "import os, sys; print(sys.argv[1:], [os.environ.get(n) for n in {!r}])"


@pytest.fixture
def here(tmp_path, channel_directory, monkeypatch):
    """The current directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(here):
    """Write a Python program that needs no interpreter named in the command."""

    def write_program(code: str, name: str = "game") -> str:
        path = here / name
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
        path.chmod(0o755)
        return str(path)

    return write_program


def alive(pid: int | None) -> bool:
    """Whether a process runs; one that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def output_of(here: Path, *arguments, **options) -> list[str]:
    """Launch a program and wait for its end; what it wrote, a list per instance."""
    with rlay.launch(*arguments, log_directory=here / "logs", **options) as launch:
        assert launch.wait(LIMIT_S) == [0] * len(launch.names)
    return [(here / "logs" / f"{name}.log").read_text() for name in launch.names]


# ------------------------------------------------------------- what it is started with


def test_program_finds_its_channel(here, write, channel_directory):
    """In its arguments and in its environment."""
    program = write(TOLD.format(["RLAY_CHANNEL", "RLAY_DIR"]))
    (text,) = output_of(here, [program, "--level=3"], name="game")
    assert text == (
        f"['--level=3', '--rlay-channel=game'] ['game', '{channel_directory}']\n"
    )


def test_instances_have_the_channels_of_a_group(here, write):
    """Those where ServerVectorEnv and ClientVectorEnv look."""
    program = write(TOLD.format(["RLAY_CHANNEL"]))
    texts = output_of(here, program, name="game", instances=3)
    assert texts == [
        f"['--rlay-channel=game.{n}'] ['game.{n}']\n" for n in range(3)
    ]  # fmt: skip


def test_place_of_the_channel_may_be_in_the_command(here, write):
    """Then nothing is appended."""
    program = write(TOLD.format([]))
    (text,) = output_of(here, [program, "-c", "at={channel}"], name="game")
    assert text == "['-c', 'at=game'] []\n"


def test_argument_can_be_left_out(here, write):
    """For a program that refuses what it does not know."""
    program = write(TOLD.format(["RLAY_CHANNEL"]))
    (text,) = output_of(here, program, name="game", channel_argument=False)
    assert text == "[] ['game']\n"


def test_python_program_gets_no_argument(here):
    """It reads the variable, and argparse would refuse an unknown argument."""
    command = [sys.executable, "-c", TOLD.format(["RLAY_CHANNEL"])]
    assert output_of(here, command, name="game") == ["[] ['game']\n"]


def test_variables_are_added_and_removed(here, write, monkeypatch):
    """What is not named is as it is here."""
    monkeypatch.setenv("COLOUR", "blue")
    monkeypatch.setenv("SHAPE", "round")
    program = write(TOLD.format(["COLOUR", "SHAPE"]))
    options = {"name": "g", "channel_argument": False}
    (text,) = output_of(here, program, env={"COLOUR": None}, **options)
    assert text == "[] [None, 'round']\n"


def test_headless_program_has_the_words_and_the_variables(here, write):
    """Those of its engine, and one that any game may read."""
    program = write(TOLD.format(["SDL_VIDEODRIVER", "RLAY_HEADLESS"]))
    options = {"name": "g", "channel_argument": False}
    (text,) = output_of(here, program, headless=True, **options)
    assert text == "[] ['dummy', '1']\n"
    (here / "logs" / "g.log").unlink()
    (text,) = output_of(here, program, headless="godot", **options)
    assert text == "['--headless'] [None, '1']\n"


def test_program_runs_where_it_is_told(here, write):
    """And is found from there."""
    (here / "inner").mkdir()
    write("import os; print(os.getcwd())", "inner/game")
    (text,) = output_of(here, "./game", name="g", cwd=here / "inner")
    assert text == f"{here}/inner\n"


def test_name_is_drawn_where_none_is_given(here, write):
    """After the program, and new each time."""
    program = write("")
    with rlay.launch(program) as one, rlay.launch(program) as other:
        assert one.names[0].startswith("game-")
        assert one.names != other.names


def test_subject_of_a_python_command_is_its_script():
    """Which says more than the interpreter."""
    assert subject_of(["/usr/bin/python3.11", "-u", "game.py", "-x"]) == "game.py"
    assert subject_of(["python", "-m", "game"]) == "game"
    assert subject_of(["./Game.x86_64", "a.py"]) == "./Game.x86_64"


@pytest.mark.parametrize(
    ("launch", "text"),
    [
        ({"comand": "game"}, "has no 'comand': it may have"),
        ({"instances": 2}, "needs a command"),
        ({"command": "sh", "instances": 0.5}, r"instances=0\.5: at least 1"),
        ({"command": "sh", "instances": 0}, "instances=0: at least 1"),
        ({"command": "sh", "cwd": "/no/such"}, "cwd='/no/such': there is no such"),
        ({"command": "sh", "headless": "unty"}, "headless='unty': choose one of"),
        ({"command": "sh", "log_directory": "/dev/null/x"}, "log_directory="),
        (7, "is no command"),
    ],
)
def test_wrong_wish_is_refused(here, launch, text):
    """With what was meant, and before anything is started."""
    with pytest.raises(ValueError, match=text):
        prepared(launch, "game", None)


def test_as_many_instances_as_names(here):
    """A list of names leaves nothing to choose."""
    launch = {"command": "sh", "instances": 3}
    with pytest.raises(ValueError, match="instances=3, but 2 channels are named"):
        prepared(launch, ["red", "blue"], None)


# ---------------------------------------------------------------------- what it writes


def test_log_is_kept_from_one_launch_to_the_next(here, write):
    """What a crash left is not overwritten by the next try."""
    program = write("print('one more')")
    output_of(here, program, name="g")
    assert output_of(here, program, name="g") == ["one more\none more\n"]


def test_output_goes_to_stderr_with_the_name_in_front(here, write, capfd):
    """Of several instances, so that it is known whose it is."""
    program = write("print('hello')")
    with rlay.launch(program, name="g", instances=2) as launch:
        assert launch.wait(LIMIT_S) == [0, 0]
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == ["[g.0] hello", "[g.1] hello"]


# --------------------------------------------------------------------- how it ends


def test_closed_launch_ends_every_instance(here):
    """Side by side; twice is harmless."""
    launch = rlay.launch(["sleep", "1000"], name="g", instances=2,
                         channel_argument=False)  # fmt: skip
    pids = launch.pids
    assert all(map(alive, pids))
    launch.close()
    launch.close()
    assert not any(map(alive, pids))


def test_program_that_ignores_sigterm_is_killed(here, write):
    """After ``grace`` seconds."""
    launch = rlay.launch(write(DEAF), name="g", log_directory=here, grace=0.2)
    wait_until(lambda: (here / "g.log").read_text() == "deaf\n", LIMIT_S)
    (pid,) = launch.pids
    launch.close()
    assert not alive(pid)


def test_daemon_of_a_program_ends_with_it(here, write):
    """Although it left its session, lost its parent and hears no SIGTERM."""
    launch = rlay.launch(write(DAEMON + "time.sleep(1000)"), name="g")
    wait_until(lambda: (here / "daemon").exists(), LIMIT_S)
    pid = int((here / "daemon").read_text())
    assert alive(pid)
    launch.close()
    assert not alive(pid)


def own(program: str) -> None:
    """Launch a program and hang."""
    globals()["launch"] = rlay.launch(program, name="g")
    signal.pause()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_daemon_does_not_outlive_the_owner_of_its_launch(children, here, write, number):
    """Nor does the program, by whatever signal the owner ends."""
    text = "open('main', 'w').write(str(os.getpid()))\n" + "time.sleep(1000)"
    owner = children.start(own, write(DAEMON + text))
    wait_until(lambda: (here / "main").exists(), LIMIT_S)
    pids = [
        int(wait_until((here / name).read_text, LIMIT_S)) for name in ("main", "daemon")
    ]
    assert all(map(alive, pids))
    owner.send_signal(number)
    owner.wait(exit_code=None)
    wait_until(lambda: not any(map(alive, pids)), LIMIT_S)


# ------------------------------------------------------------- which stage failed


def failure(launch: "rlay.Launch", timeout: float = LIMIT_S) -> Exception:
    """Wait for instances that will not attach; the error."""
    with pytest.raises(rlay.RLayError) as caught:
        launch.wait_until_attached(timeout)
    assert not any(launch.running)
    return caught.value


def test_program_that_cannot_be_executed_says_so(here, write):
    """Nothing was started."""
    write("")
    with pytest.raises(rlay.LaunchFailed, match=r"Did you mean .*/game\?") as caught:
        rlay.launch("./gmae", name="g")
    assert caught.value.stage == "execute"


def test_program_for_another_system_says_so(here):
    """The system's own words are in it."""
    (here / "game").write_bytes(b"\x00\x01")
    (here / "game").chmod(0o755)
    with pytest.raises(rlay.LaunchFailed, match="Exec format error") as caught:
        rlay.launch("./game", name="g")
    assert caught.value.stage == "execute"


def test_program_that_ends_early_says_how_with_its_last_lines(here, write):
    """Exit code, stage, and what it wrote."""
    program = write("print('no licence'); raise SystemExit(3)")
    error = failure(rlay.launch(program, name="g"))
    assert isinstance(error, rlay.LaunchFailed)
    assert error.stage == "attach"
    assert str(error) == (
        f"'{program}' of channel 'g' exited with code 3 before it attached to its "
        "channel. Its last lines:\n    no licence"
    )


def test_program_that_knows_no_such_argument_is_told_of_the_switch(here):
    """Which is the likeliest reason."""
    error = failure(rlay.launch(["sleep", "1000"], name="g"))
    assert "pass channel_argument=False" in str(error)


def test_script_that_leaves_its_game_running_is_told(here, write):
    """The game ended with it, so nobody would ever attach."""
    error = failure(rlay.launch(write(DAEMON), name="g"))
    assert "exited with code 0 before it attached" in str(error)
    pid = (here / "daemon").read_text()
    assert f"(process {pid}) running, which ended with it" in str(error)


def test_program_that_never_attaches_says_so_with_its_last_lines(here, write):
    """After the time that was given; it was ended."""
    program = write("import time; print('loading', flush=True); time.sleep(1000)")
    launch = rlay.launch(program, name="g", log_directory=here)
    wait_until(lambda: (here / "g.log").read_text() == "loading\n", LIMIT_S)
    error = failure(launch, 0.1)
    assert isinstance(error, rlay.ConnectTimeout)
    assert "was started, but did not attach in time (0.1 s)" in str(error)
    assert "    loading" in str(error)
    assert f"All that it wrote is in {here}/g.log" in str(error)


def test_program_that_attaches_is_noticed(here):
    """A backend holds the channel that it has made."""
    command = [sys.executable, "-m", "rlay", "serve", "CartPole-v1"]
    with rlay.launch(command, name="g", instances=2) as launch:
        launch.wait_until_attached(LIMIT_S)
        assert sorted(os.listdir(os.environ["RLAY_DIR"])) == ["g.0", "g.1"]
    assert os.listdir(os.environ["RLAY_DIR"]) == []
