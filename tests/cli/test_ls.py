"""``rlay ls``, ``rlay inspect`` and ``rlay clean``: looking from outside."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

import rlay
from rlay.cli import main
from rlay.transport.mem_server import MemServer
from tests.support.waiting import wait_until

LIMIT_S = 30.0


@pytest.fixture
def run(capsys, channel_directory):
    """Run a command in this process; exit code, stdout and stderr."""

    def run_words(*words):
        capsys.readouterr()
        code = main(list(words))
        return (code, *capsys.readouterr())

    return run_words


@pytest.fixture
def ls_json(run):
    """The list as JSON, by name."""

    def listed():
        code, out, err = run("ls", "--json")
        assert (code, err) == (0, "")
        return {channel["name"]: channel for channel in json.loads(out)}

    return listed


def serve(name: str) -> None:
    rlay.ServerBackend("CartPole-v1", name=name).run()


def hold(name: str) -> None:
    server = MemServer.create(name)
    sys.stdout.write("made\n")
    sys.stdout.flush()
    signal.pause()
    server.close()


@pytest.fixture
def stale(children):
    """Leave a channel behind, as a killed process does."""

    def leave(name):
        child = children.start(hold, name, forever=True)
        child.wait_until_printed("made")
        child.kill()

    return leave


# -------------------------------------------------------------------------- ls


def test_ls_of_nothing_says_where_it_looked(run, ls_json, channel_directory):
    """Exit code 0: that is no error."""
    assert run("ls") == (0, f"no channels in {channel_directory}\n", "")
    assert ls_json() == {}


def test_ls_of_a_directory_that_does_not_exist_makes_none(run, tmp_path):
    """Looking leaves no trace."""
    missing = tmp_path / "missing"
    assert run("ls", "--directory", str(missing))[0] == 0
    assert not missing.exists()


def test_ls_shows_who_holds_each_end(run, ls_json, children):
    """And in which state the channel is."""
    server = children.start(serve, "cart", forever=True)
    env = rlay.ClientEnv("cart")
    found = ls_json()["cart"]
    assert found["state"] == "attached"
    assert found["facts"] == {"class": "ClientEnv", "num_envs": 1, "mirror": False}
    assert (found["server"]["held"], found["server"]["pid"]) == (True, server.pid)
    assert (found["client"]["held"], found["client"]["pid"]) == (True, os.getpid())
    env.close()
    wait_until(lambda: ls_json()["cart"]["state"] == "waiting", LIMIT_S)
    assert ls_json()["cart"]["client"]["held"] is False
    header, row = run("ls")[1].splitlines()
    assert header.split()[:5] == ["CHANNEL", "CLASS", "ENVS", "STATE", "ENVIRONMENT"]
    assert row.split()[:5] == ["cart", "ClientEnv", "1", "waiting", str(server.pid)]


def test_ls_counts_steps_of_a_running_channel(ls_json, children):
    """Resets among them; the rate is what the client really makes."""
    children.start(serve, "cart", forever=True)
    env = rlay.ClientEnv("cart")
    env.reset()
    assert ls_json()["cart"]["steps"] == 1
    assert ls_json()["cart"]["steps_per_s"] == 0.0
    done, steps = threading.Event(), [1]

    def play() -> None:
        while not done.is_set():
            env.reset()
            steps[0] += 1
            time.sleep(0.001)

    player = threading.Thread(target=play)
    player.start()
    began, before = time.monotonic(), steps[0]
    try:
        found = ls_json()["cart"]
        rate = (steps[0] - before) / (time.monotonic() - began)
    finally:
        done.set()
        player.join()
    assert 0.2 * rate < found["steps_per_s"] < 5 * rate
    env.close()


def test_ls_of_a_server_env_knows_which_end_is_the_environments(run):
    """There the algorithm made the channel."""
    env = rlay.ServerEnv("game")
    row = run("ls")[1].splitlines()[1].split()
    assert row[:5] == ["game", "ServerEnv", "1", "waiting", "-"]
    assert row[5] == str(os.getpid())
    env.close()


@pytest.mark.leaves_files
def test_ls_marks_stale_channels(run, ls_json, stale):
    """Those that nobody holds."""
    stale("old")
    assert ls_json()["old"]["state"] == "stale"
    assert " stale " in run("ls")[1]


@pytest.mark.leaves_files
def test_ls_says_what_is_wrong_with_a_broken_channel(run, ls_json, channel_directory):
    """One that is no channel does not keep the others from being shown."""
    (channel_directory / "odd").mkdir(mode=0o700)
    server = MemServer.create("sound")
    found = ls_json()
    server.close()
    assert found["odd"]["state"] == "broken"
    assert found["odd"]["problem"]
    assert found["sound"]["state"] == "waiting"
    assert f"odd: {found['odd']['problem']}" in run("ls")[1]


@pytest.mark.leaves_files
def test_b7_ls_of_a_directory_that_others_may_write_is_refused(run, channel_directory):
    """Exit code 78."""
    inner = channel_directory / f"rlay-{os.geteuid()}"
    inner.mkdir()
    inner.chmod(0o777)
    channel_directory.chmod(0o777)
    code, out, err = run("ls")
    assert (code, out) == (78, "")
    assert err.startswith("Error: ")
    assert "is not ours alone" in err


# --------------------------------------------------------------------- inspect


def test_inspect_shows_a_running_channel(run, children):
    """Both ends, the session, and the last message of each direction."""
    server = children.start(serve, "cart", forever=True)
    env = rlay.ClientEnv("cart")
    env.reset()
    env.step(0)
    code, out, _ = run("inspect", "cart")
    assert code == 0
    assert "state             attached\n" in out
    assert f"process {server.pid}: " in out
    assert f"process {os.getpid()}: " in out
    assert "last message: step 2," in out
    assert "last message: transition 2," in out
    assert "rate              0 requests/s\n" in out
    found = json.loads(run("inspect", "cart", "--json")[1])
    assert found["request"]["sequence"] == 2
    assert found["session"] in out
    env.close()


def test_inspect_does_not_touch_a_running_channel(run, children, channel_directory):
    """No byte of its files changes, nor the time of their last change."""
    server = children.start(serve, "cart", forever=True)
    env = rlay.ClientEnv("cart")
    env.reset()
    env.step(0)

    def files():
        paths = sorted((channel_directory / "cart").iterdir())
        return [
            (path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in paths
        ]

    server.send_signal(signal.SIGSTOP)  # a server that waits notes that it sleeps
    wait_until(lambda: stopped(server.pid), LIMIT_S)
    before = files()
    assert "state             attached" in run("inspect", "cart")[1]
    assert files() == before
    server.send_signal(signal.SIGCONT)
    assert env.step(0)[1] == 1.0
    env.close()


def stopped(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat").read_text()
    return status.rpartition(")")[2].split()[0] == "T"


def test_inspect_before_the_first_session_says_so(run):
    """Zeros would be read as numbers."""
    server = MemServer.create("fresh")
    out = run("inspect", "fresh")[1]
    server.close()
    assert "session           none yet\n" in out
    assert "slot" not in out


def test_inspect_of_a_missing_channel_names_those_there(run):
    """Exit code 1."""
    server = MemServer.create("cart")
    code, out, err = run("inspect", "crat")
    server.close()
    assert (code, out) == (1, "")
    assert "crat does not exist. Channels there: cart" in err


def test_inspect_in_a_directory_that_does_not_exist_says_so(run, tmp_path):
    """Exit code 1, and none is made."""
    missing = tmp_path / "missing"
    code, _, err = run("inspect", "x", "--directory", str(missing))
    assert code == 1
    assert "Channels there: none" in err
    assert not missing.exists()


@pytest.mark.leaves_files
def test_inspect_of_a_broken_channel_shows_the_problem(run, channel_directory):
    """And what files there are."""
    broken = channel_directory / "odd"
    broken.mkdir(mode=0o700)
    (broken / "header").write_bytes(b"nonsense")
    (broken / "header").chmod(0o600)
    code, out, _ = run("inspect", "odd")
    assert code == 0
    assert "state             broken\n" in out
    assert "problem " in out
    assert "file header       8 bytes\n" in out


# ----------------------------------------------------------------------- clean


def test_clean_of_nothing_says_so(run, channel_directory):
    """Exit code 0."""
    text = f"nothing to remove in {channel_directory}\n"
    assert run("clean") == (0, text, "")
    assert run("clean", "--dry-run") == (0, text, "")
    assert json.loads(run("clean", "--json")[1]) == []


def test_clean_removes_stale_channels_and_says_which(run, stale, channel_directory):
    """With the room that they took."""
    stale("old")
    server = MemServer.create("live")
    code, out, _ = run("clean")
    assert code == 0
    assert out.startswith(f"removed {channel_directory / 'old'} (")
    assert "both its locks are free" in out
    assert [path.name for path in channel_directory.iterdir()] == ["live"]
    server.close()


def test_clean_as_a_dry_run_removes_nothing(run, stale, channel_directory):
    """It says the same."""
    stale("old")
    code, out, _ = run("clean", "--dry-run")
    assert code == 0
    assert out.startswith(f"would remove {channel_directory / 'old'} (")
    assert (channel_directory / "old").is_dir()
    (found,) = json.loads(run("clean", "--json")[1])
    assert found["name"] == "old"
    assert found["size_bytes"] > 0
    assert not (channel_directory / "old").exists()


def test_a6_clean_after_both_ends_were_killed_reports_one_channel(
    run, children, channel_directory
):
    """Server and client by SIGKILL: nothing of them is left."""
    server = children.start(serve, "cart", forever=True)
    client = children.start(attach, "cart", forever=True)
    client.wait_until_printed("attached")
    server.kill()
    client.kill()
    out = run("clean")[1]
    assert len(out.splitlines()) == 1
    assert list(channel_directory.iterdir()) == []


def attach(name: str) -> None:
    env = rlay.ClientEnv(name)
    env.reset()
    sys.stdout.write("attached\n")
    sys.stdout.flush()
    signal.pause()
    env.close()
