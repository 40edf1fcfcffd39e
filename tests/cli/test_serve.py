"""``rlay serve``: one environment, in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rlay
from tests.support.bridge_child import BridgeChild
from tests.support.waiting import wait_until

LIMIT_S = 30.0
STOPS = [signal.SIGTERM, signal.SIGINT]


def empty(directory: Path) -> bool:
    return list(directory.iterdir()) == []


# ------------------------------------------------------------------ it serves


def test_serve_answers_one_client_after_the_other(rlay_command):
    """Until it is told to stop."""
    server = rlay_command("serve", "CartPole-v1", "--name", "cart", forever=True)
    for _ in range(2):
        env = rlay.ClientEnv("cart")
        assert env.reset(seed=1)[0].shape == (4,)
        assert env.step(0)[1] == 1.0
        env.close()
    assert server.exit_code is None


def test_serve_says_what_it_does(rlay_command, channel_directory):
    """One line for each change, with all that is needed to use it."""
    server = rlay_command("serve", "CartPole-v1", "--name", "cart")
    env = rlay.ClientEnv("cart")
    env.reset()
    env.close()
    wait_until(lambda: "after 2 requests" in server.stderr, LIMIT_S)
    server.send_signal(signal.SIGTERM)
    server.wait()
    lines = server.stderr.splitlines()
    assert f"serving CartPole-v1 on channel 'cart' in {channel_directory}" in lines[0]
    assert lines[0].endswith(
        f"(process {server.pid}); use it with rlay.ClientEnv('cart')"
    )
    assert "a client came to 'cart'" in lines[1]
    assert "'cart'" in lines[2]
    assert lines[2].endswith("after 2 requests: closed")
    assert "stopped by SIGTERM" in lines[3]
    assert len(lines) == 4
    assert server.stdout == ""


def test_serve_takes_its_name_from_the_environment(rlay_command, monkeypatch):
    """``$RLAY_CHANNEL`` names it for both sides."""
    monkeypatch.setenv("RLAY_CHANNEL", "cart")
    server = rlay_command("serve", "CartPole-v1", "--once")
    env = rlay.ClientEnv()
    env.reset()
    env.close()
    server.wait()


def test_serve_once_ends_when_the_first_client_has_left(
    rlay_command, channel_directory
):
    """Exit code 0, and no files."""
    server = rlay_command("serve", "CartPole-v1", "--name", "cart", "--once")
    rlay.ClientEnv("cart").close()
    server.wait()
    assert empty(channel_directory)


def test_serve_finds_modules_in_the_current_directory(rlay_command):
    """And passes keyword arguments and names on."""
    server = rlay_command(
        "serve", "game:Game", "--name", "game", "--once",
        "--kwargs", '{"title": "Pong \\u00e9"}', "--allow", "level", "--allow", "title",
    )  # fmt: skip
    env = rlay.ClientEnv("game")
    assert env.reset()[1]["title"] == "Pong \u00e9"
    assert (env.level, env.title) == (7, "Pong \u00e9")
    env.close()
    server.wait()


def test_serve_of_several_is_one_channel(rlay_command):
    """For a ClientVectorEnv, which its line of log names."""
    server = rlay_command(
        "serve", "game:Game", "--name", "game", "--num-envs", "3", "--once"
    )
    envs = rlay.ClientVectorEnv("game")
    assert envs.num_envs == 3
    envs.close()
    server.wait()
    assert "use it with rlay.ClientVectorEnv('game')" in server.stderr


def test_serve_in_a_directory_uses_that_one(rlay_command, tmp_path):
    """Not the one of the environment variable."""
    server = rlay_command(
        "serve", "CartPole-v1", "--name", "cart", "--once", "--directory",
        str(tmp_path / "channels"),
    )  # fmt: skip
    rlay.ClientEnv("cart", directory=tmp_path / "channels").close()
    server.wait()


def test_serve_at_an_address_is_a_channel_of_the_bridge(
    rlay_command, children, channel_directory, tmp_path
):
    """Whoever is on the bridge's machine finds it, and who has the address."""
    bridge = BridgeChild(children)
    address = f"tcp://127.0.0.1:{bridge.port}/game"
    server = rlay_command(
        "serve", "game:Game", "--name", address, "--directory", str(tmp_path / "none")
    )
    for name in ("game", address):
        env = rlay.ClientEnv(name)
        env.reset()
        assert env.step(0)[1] == 0.5
        env.close()
    server.send_signal(signal.SIGTERM)
    server.wait()
    assert f"serving game:Game on channel {address!r} (process" in server.stderr
    bridge.end()
    assert empty(channel_directory)
    assert not (tmp_path / "none").exists()


def test_serve_quietly_says_nothing(rlay_command):
    """As long as nothing is wrong."""
    server = rlay_command("serve", "CartPole-v1", "--name", "cart", "--once", "--quiet")
    rlay.ClientEnv("cart").close()
    server.wait()
    assert (server.stdout, server.stderr) == ("", "")


# ------------------------------------------------------------------- it stops


@pytest.mark.parametrize("number", STOPS)
def test_stopped_server_that_waits_leaves_no_files(
    rlay_command, channel_directory, number
):
    """Exit code 0: that is what it was asked for."""
    server = rlay_command("serve", "CartPole-v1", "--name", "cart")
    wait_until(lambda: "serving" in server.stderr, LIMIT_S)
    server.send_signal(number)
    server.wait()
    assert f"stopped by {number.name}" in server.stderr
    assert empty(channel_directory)


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("what", ["nothing", "sleep"])
def test_stopped_server_says_goodbye_to_its_client(
    rlay_command, channel_directory, number, what
):
    """Idle, or in the middle of a step; the client learns the reason."""
    server = rlay_command("serve", "game:Game", "--name", "game")
    env = rlay.ClientEnv("game", step_timeout=0.3)
    env.reset(options={"what": what})
    if what == "sleep":
        with pytest.raises(rlay.StepTimeout):
            env.step(0)
    server.send_signal(number)
    server.wait()
    with pytest.raises(rlay.EnvLost, match="because its process shuts down"):
        env.reset() if what == "sleep" else env.step(0)
    env.close()
    assert empty(channel_directory)


def test_server_stopped_before_it_serves_ends(rlay_command, channel_directory):
    """While it makes its environment."""
    server = rlay_command(
        "serve", "game:Game", "--name", "game", "--kwargs", '{"at_start": "sleep"}'
    )
    wait_until(lambda: not empty(channel_directory), LIMIT_S)
    server.send_signal(signal.SIGTERM)
    server.wait()
    assert empty(channel_directory)


# ------------------------------------------------------------------- it fails


def failure(server, code: int) -> str:
    server.wait(exit_code=code)
    return str(server.stderr)


def test_serve_of_a_misspelt_id_is_a_wrong_call(rlay_command, channel_directory):
    """Exit code 2, one line, and the right id in it."""
    text = failure(rlay_command("serve", "CartPol-v1", "--name", "cart"), 2)
    assert text.startswith("Error: 'CartPol-v1': Gymnasium knows no such id")
    assert "Did you mean CartPole-v1" in text
    assert "Traceback" not in text
    assert empty(channel_directory)


def test_serve_of_a_missing_module_is_a_wrong_call(rlay_command, here):
    """Exit code 2, and where it was looked for."""
    text = failure(rlay_command("serve", "gmae:Game", "--name", "game"), 2)
    assert f"module 'gmae' cannot be imported from {here}" in text
    assert "Did you mean game:Game?" in text


def test_serve_of_something_else_than_an_environment_fails(rlay_command):
    """Exit code 1, and what came instead."""
    text = failure(rlay_command("serve", "game:NotAnEnvironment", "--name", "game"), 1)
    assert "the factory returned" in text
    assert "not a gymnasium.Env" in text


def test_serve_of_an_environment_that_gymnasium_cannot_make_says_why(rlay_command):
    """Exit code 1, in a line: it is no bug."""
    text = failure(rlay_command("serve", "game:needy", "--name", "game"), 1)
    assert text == "Error: 'game:needy' cannot be served: run: pip install simulator\n"


def test_a14_serve_whose_environment_cannot_be_made_fails(
    rlay_command, channel_directory
):
    """Exit code 1, with the traceback; a client that waits is told."""
    server = rlay_command(
        "serve", "game:Game", "--name", "game", "--kwargs", '{"at_start": "raise"}'
    )
    with pytest.raises(rlay.RemoteEnvError, match="ValueError: no such level"):
        rlay.ClientEnv("game")
    text = failure(server, 1)
    assert "'game:Game' cannot be served" in text
    assert 'raise ValueError("no such level")' in text
    assert empty(channel_directory)


def test_serve_of_a_name_that_is_taken_says_who_has_it(rlay_command):
    """Exit code 1; the first one goes on."""
    first = rlay_command("serve", "CartPole-v1", "--name", "cart", forever=True)
    wait_until(lambda: "serving" in first.stderr, LIMIT_S)
    text = failure(rlay_command("serve", "CartPole-v1", "--name", "cart"), 1)
    assert text.startswith("Error: channel 'cart' has a server already: process ")
    assert str(first.pid) in text
    assert first.exit_code is None


def test_serve_in_a_directory_that_is_a_file_fails(rlay_command, here):
    """Exit code 2: the option names no directory."""
    text = failure(
        rlay_command("serve", "CartPole-v1", "-n", "x", "--directory", "game.py"), 2
    )
    assert "'game.py' is a file" in text


@pytest.mark.leaves_files
def test_b7_serve_in_a_directory_that_others_may_write_is_refused(
    rlay_command, channel_directory
):
    """Exit code 78: where a sub-directory of its own cannot be trusted either."""
    inner = channel_directory / f"rlay-{os.geteuid()}"
    inner.mkdir()
    inner.chmod(0o777)
    channel_directory.chmod(0o777)
    text = failure(rlay_command("serve", "CartPole-v1", "--name", "cart"), 78)
    assert "is not ours alone" in text


@pytest.mark.parametrize(
    ("what", "code", "text"),
    [
        ("exit 3", 3, "the environment ended its process by sys.exit(3)"),
        ("_exit 4", 4, ""),
        ("segfault", -signal.SIGSEGV, "Fatal Python error: Segmentation fault"),
    ],
)
@pytest.mark.leaves_files
def test_a15_serve_whose_environment_ends_the_process_has_its_exit_code(
    rlay_command, what, code, text
):
    """Whoever started it learns how it ended; the client gets EnvLost."""
    server = rlay_command("serve", "game:Game", "--name", "game")
    env = rlay.ClientEnv("game")
    env.reset(options={"what": what})
    with pytest.raises(rlay.EnvLost) as caught:
        env.step(0)
    assert caught.value.executed is None
    env.close()
    assert text in failure(server, code)


def test_serve_with_its_output_closed_goes_on(here, channel_directory):
    """``rlay serve ... 2>&1 | head -1`` is no reason to end."""
    words = [
        sys.executable,
        "-m",
        "rlay",
        "serve",
        "CartPole-v1",
        "-n",
        "cart",
        "--once",
    ]
    server = subprocess.Popen(words, cwd=here, stderr=subprocess.PIPE)
    try:
        assert server.stderr is not None
        server.stderr.readline()
        server.stderr.close()
        env = rlay.ClientEnv("cart")
        env.reset()
        env.close()
        assert server.wait(LIMIT_S) == 0
    finally:
        server.kill()
        server.wait()
