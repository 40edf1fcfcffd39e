"""The command line as a whole: help, typos, and exit codes."""

import subprocess
import sys

import pytest

import rlay
from rlay.cli import main

COMMANDS = ["demo", "bench", "serve", "ls", "inspect", "clean", "bridge"]
GROUPS = ["token", "cert"]
SERVE = ["serve", "CartPole-v1", "-n", "x"]
SERVE_AWAY = ["serve", "CartPole-v1", "-n", "tcp://hub:7451/y"]


def run(capsys, *words):
    """Exit code, stdout and stderr of a command run in this process."""
    code = main(list(words))
    return (code, *capsys.readouterr())


def test_help_names_every_command(capsys):
    """And the three that a newcomer types first."""
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in COMMANDS + GROUPS:
        assert f"\n  {command} " in out
    assert "  See it work:            rlay demo\n" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_there(capsys, command):
    """With all of its options explained."""
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: rlay {command} ")
    assert "--directory D" in out


def test_version_is_the_packages(capsys):
    """The one that is installed."""
    code, out, _ = run(capsys, "--version")
    assert (code, out) == (0, f"rlay-python {rlay.__version__}\n")


def test_misspelt_command_names_the_right_one(capsys):
    """Exit code 2, as for every wrong call."""
    code, _, err = run(capsys, "serv")
    assert code == 2
    assert "No such command 'serv'" in err
    assert "Did you mean 'serve'?" in err


def test_misspelt_option_names_the_right_one(capsys):
    """Exit code 2."""
    code, _, err = run(capsys, "serve", "CartPole-v1", "--num-env", "2")
    assert code == 2
    assert "--num-envs" in err


def test_no_command_shows_the_help(capsys):
    """Exit code 2: nothing was asked for."""
    code, out, err = run(capsys)
    assert code == 2
    assert "Commands:" in out + err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["serve"], "Missing argument 'TARGET'"),
        (["serve", "CartPole-v1"], "Missing option '--name'"),
        (
            ["serve", "CartPole-v1", "-n", "x", "--num-envs", "0"],
            "0 is not in the range",
        ),
        (
            ["serve", "CartPole-v1", "-n", "x", "--channels", "0"],
            "0 is not in the range",
        ),
        (
            ["serve", "CartPole-v1", "-n", "x", "--processes", "2"],
            "Raise --num-envs to 2, or lower --processes to 1",
        ),
        (
            [*SERVE, "--num-envs", "8", "--processes", "2", "--channels", "4"],
            "use --processes for one ClientVectorEnv",
        ),
        ([*SERVE_AWAY, "--restart"], "--restart is for channels of this machine"),
        ([*SERVE_AWAY, "--channels", "2"], "bridge --connect hub:7451"),
        ([*SERVE_AWAY, "--num-envs", "2", "--processes", "2"], "use --name y, and"),
        (["serve", "CartPole-v1", "-n", "ws://hub/y"], "use tcp:// or tls://"),
        (["serve", "CartPole-v1", "-n", "tcp://hub"], "it names no channel"),
        (["serve", "CartPole-v1", "-n", "x", "--kwargs", "{"], "not JSON"),
        (["inspect"], "Missing argument 'NAME'"),
    ],
)
def test_wrong_call_says_what_is_wrong(capsys, words, text):
    """Exit code 2; nothing was started."""
    code, _, err = run(capsys, *words)
    assert code == 2
    assert text in err


@pytest.mark.parametrize(
    "words", [["serve", "CartPole-v1", "--name", "../x"], ["inspect", "a/b"]]
)
def test_b11_name_that_leads_elsewhere_is_refused(capsys, words):
    """Exit code 78: no file was looked at."""
    code, _, err = run(capsys, *words)
    assert code == 78
    assert "cannot name a channel" in err


def test_python_m_rlay_is_the_same_program():
    """For who has no scripts on the path."""
    words = [sys.executable, "-m", "rlay", "--version"]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout == f"rlay-python {rlay.__version__}\n"


def test_looking_at_channels_does_not_import_gymnasium():
    """It takes half a second, which nobody wants to wait for a list."""
    code = (
        "import sys; from rlay.cli import main; main(['ls']); "
        "sys.exit('gymnasium' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
