"""``rlay serve --channels``, ``--processes`` and ``--restart``: one watches others."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import rlay
from rlay.cli import main
from rlay.processes.quota import RestartQuota
from rlay.transport.inspection import list_channels
from tests.support.waiting import wait_until

LIMIT_S = 30.0


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for_channels(directory: Path, count: int) -> list[int]:
    """Wait until so many channels are served; the process id of each."""

    def served() -> list[int]:
        servers = [view.server for view in list_channels(directory)]
        pids = [server.pid for server in servers if server is not None and server.held]
        return pids if len(pids) == count else []

    return wait_until(served, LIMIT_S)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def empty(directory: Path) -> bool:
    return names(directory) == []


# -------------------------------------------------------------------- channels


def test_channels_are_served_by_a_process_each(rlay_command, channel_directory):
    """n.0, n.1, n.2, and a client of the group takes the first free one."""
    rlay_command("serve", "game:Game", "-n", "game", "--channels", "3", forever=True)
    pids = wait_for_channels(channel_directory, 3)
    assert len(set(pids)) == 3
    envs: list[Any] = [rlay.ClientEnv("game.*") for _ in range(3)]
    assert sorted(env.reset()[1]["pid"] for env in envs) == sorted(pids)
    for env in envs:
        env.close()


def test_one_channel_of_a_group_has_a_number_too(rlay_command, channel_directory):
    """--channels 1 is a group of one."""
    rlay_command("serve", "game:Game", "-n", "game", "--channels", "1", forever=True)
    wait_for_channels(channel_directory, 1)
    rlay.ClientEnv("game.0").close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_group_leaves_no_process_and_no_files(
    rlay_command, channel_directory, number
):
    """Exit code 0; every client hears the reason."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--channels", "2")
    pids = wait_for_channels(channel_directory, 2)
    env = rlay.ClientEnv("game.1")
    env.reset()
    server.send_signal(number)
    server.wait()
    assert not any(map(alive, pids))
    with pytest.raises(rlay.EnvLost, match="because its process shuts down"):
        env.step(0)
    env.close()
    assert empty(channel_directory)


def test_killed_group_leaves_no_process(rlay_command, channel_directory):
    """By SIGKILL: the processes of its channels end by themselves, and tidy up."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--channels", "2")
    pids = wait_for_channels(channel_directory, 2)
    server.kill()
    wait_until(lambda: not any(map(alive, pids)), LIMIT_S)
    wait_until(lambda: empty(channel_directory), LIMIT_S)


def test_group_of_a_misspelt_id_says_so_once(rlay_command, channel_directory):
    """Exit code 2, as without a group."""
    server = rlay_command("serve", "CartPol-v1", "-n", "cart", "--channels", "4")
    server.wait(exit_code=2)
    assert server.stderr.count("Error: 'CartPol-v1'") == 1
    assert empty(channel_directory)


def test_crash_in_a_group_is_told_and_the_others_go_on(rlay_command, channel_directory):
    """Without --restart the channel is gone; in the end the exit code is 1."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--channels", "2")
    wait_for_channels(channel_directory, 2)
    first, second = rlay.ClientEnv("game.0"), rlay.ClientEnv("game.1")
    first.reset(options={"what": "_exit 4"})
    second.reset()
    with pytest.raises(rlay.EnvLost):
        first.step(0)
    first.close()
    wait_until(lambda: "game.0 exited with code 4" in server.stderr, LIMIT_S)
    assert second.step(0)[1] == 0.5
    second.close()
    wait_until(lambda: names(channel_directory) == ["game.1"], LIMIT_S)
    server.send_signal(signal.SIGTERM)
    server.wait(exit_code=1)


def test_group_that_serves_once_ends_with_the_last_client(rlay_command):
    """Each channel ends with its own first client."""
    server = rlay_command(
        "serve", "game:Game", "-n", "game", "--channels", "2", "--once"
    )
    rlay.ClientEnv("game.0").close()
    rlay.ClientEnv("game.1").close()
    server.wait()


def test_output_of_a_group_says_whose_it_is(rlay_command, channel_directory):
    """The channel's name is in front of each line."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--channels", "2")
    wait_for_channels(channel_directory, 2)
    wait_until(lambda: server.stderr.count("serving") == 2, LIMIT_S)
    server.send_signal(signal.SIGTERM)
    server.wait()
    lines = server.stderr.splitlines()
    for name in ("game.0", "game.1"):
        own = [line for line in lines if f"channel '{name}'" in line]
        assert own
        assert all(line.startswith(f"[{name}] ") for line in own)


# ------------------------------------------------------------------- processes


def test_processes_divide_the_environments(rlay_command, channel_directory):
    """Five in two: three on one channel, two on the other, each in its process."""
    server = rlay_command(
        "serve", "game:Game", "-n", "game", "--num-envs", "5", "--processes", "2",
        forever=True,
    )  # fmt: skip
    first, second = wait_for_channels(channel_directory, 2)
    assert names(channel_directory) == ["game.0", "game.1"]
    assert first != second
    envs = rlay.ClientVectorEnv("game", num_envs=5)
    assert envs.reset()[1]["pid"].tolist() == [first] * 3 + [second] * 2
    envs.close()
    use = "in 2 processes: use it with rlay.ClientVectorEnv('game', num_envs=5)"
    wait_until(lambda: use in server.stderr, LIMIT_S)


def test_process_with_one_environment_takes_a_client_env(
    rlay_command, channel_directory
):
    """As many processes as environments: no channel carries a batch."""
    rlay_command(
        "serve", "game:Game", "-n", "game", "--num-envs", "2", "--processes", "2",
        forever=True,
    )  # fmt: skip
    pids = wait_for_channels(channel_directory, 2)
    env = rlay.ClientEnv("game.1")
    assert env.reset()[1]["pid"] == pids[1]
    env.close()


def test_process_that_crashes_is_started_again(rlay_command, channel_directory):
    """Without --restart: another one serves its channel, the others go on."""
    server = rlay_command(
        "serve", "game:Game", "-n", "game", "--num-envs", "2", "--processes", "2"
    )
    pids = wait_for_channels(channel_directory, 2)
    other, env = rlay.ClientEnv("game.0"), rlay.ClientEnv("game.1")
    assert other.reset()[1]["pid"] == pids[0]
    env.reset(options={"what": "segfault"})
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    assert env.reset()[1]["pid"] not in pids
    assert other.step(0)[1] == 0.5
    env.close()
    other.close()
    server.send_signal(signal.SIGTERM)
    server.wait()
    assert "game.1 was ended by signal SIGSEGV" in server.stderr
    assert empty(channel_directory)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_stopped_processes_are_ended_every_one(rlay_command, channel_directory, number):
    """Also one that is stuck, and by SIGKILL, which says goodbye to nobody."""
    server = rlay_command(
        "serve", "game:Game", "-n", "game", "--num-envs", "3", "--processes", "2"
    )
    pids = wait_for_channels(channel_directory, 2)
    env = rlay.ClientEnv("game.1", step_timeout=0.1)
    env.reset(options={"what": "sleep"})
    with pytest.raises(rlay.StepTimeout):
        env.step(0)
    server.send_signal(number)
    server.wait(exit_code=-number if number is signal.SIGKILL else 0)
    wait_until(lambda: not any(map(alive, pids)), LIMIT_S)
    env.close()
    wait_until(lambda: empty(channel_directory), LIMIT_S)


def serve_with_a_quota_of_one(directory, *words):
    """Run ``rlay serve``, so that the second crash is the last; runs in a child."""
    os.chdir(directory)
    patch = pytest.MonkeyPatch()
    patch.setattr("rlay.cli.supervising.RestartQuota", lambda: RestartQuota(limit=1))
    sys.exit(main(["serve", *words]))


def test_process_that_keeps_crashing_is_given_up(
    children, rlay_command, here, channel_directory
):
    """A line of log says why; the others go on, another may serve it; exit code 1."""
    server = children.start(
        serve_with_a_quota_of_one, here,
        "game:Game", "-n", "game", "--num-envs", "2", "--processes", "2",
    )  # fmt: skip
    wait_for_channels(channel_directory, 2)
    other, env = rlay.ClientEnv("game.0"), rlay.ClientEnv("game.1")
    other.reset()
    for _ in range(2):
        env.reset(options={"what": "_exit 4"})
        with pytest.raises(rlay.EnvLost):
            env.step(0)
    reason = "the quota of 1 restarts within 600 s is used up"
    wait_until(lambda: reason in server.stderr, LIMIT_S)
    rlay_command("serve", "game:Game", "-n", "game.1", "--once")
    env.reset()
    env.close()
    assert other.step(0)[1] == 0.5
    other.close()
    server.send_signal(signal.SIGTERM)
    server.wait(exit_code=1)
    assert server.stderr.count(reason) == 1
    assert "game.1 exited with code 4; it crashed 2 times in all" in server.stderr
    assert empty(channel_directory)


# --------------------------------------------------------------------- restart


def test_a4_restarted_environment_is_a_new_one(rlay_command):
    """The client loses the old one, and its next reset adopts the new one."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--restart")
    env = rlay.ClientEnv("game")
    first = env.reset(options={"what": "segfault"})[1]["pid"]
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    assert env.reset()[1]["pid"] != first
    assert env.step(0)[1] == 0.5
    env.close()
    server.send_signal(signal.SIGTERM)
    server.wait()
    assert "starting it again in 0.1 s" in server.stderr


def test_restarted_server_that_serves_once_ends_with_its_client(rlay_command):
    """A crash is no end; a client that leaves is."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--restart", "--once")
    env = rlay.ClientEnv("game")
    env.reset(options={"what": "_exit 4"})
    with pytest.raises(rlay.EnvLost):
        env.step(0)
    env.reset()
    env.close()
    server.wait()


def test_restart_of_a_misspelt_id_is_not_tried(rlay_command):
    """It would not help; exit code 2."""
    server = rlay_command("serve", "CartPol-v1", "-n", "cart", "--restart")
    server.wait(exit_code=2)
    assert "starting it again" not in server.stderr


def test_killed_supervisor_takes_its_environment_along(rlay_command, channel_directory):
    """By SIGKILL, too."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--restart")
    (pid,) = wait_for_channels(channel_directory, 1)
    server.kill()
    wait_until(lambda: not alive(pid), LIMIT_S)
    wait_until(lambda: empty(channel_directory), LIMIT_S)


def test_stop_between_two_starts_ends_the_supervisor(rlay_command, channel_directory):
    """In the pause after a crash nobody else hears the signal."""
    server = rlay_command("serve", "game:crash", "-n", "game", "--restart")
    wait_until(lambda: "restart 3;" in server.stderr, LIMIT_S)
    server.send_signal(signal.SIGTERM)
    server.wait()
    assert empty(channel_directory)


@pytest.mark.timeout(300)
def test_a24_environment_that_keeps_crashing_is_given_up(
    rlay_command, channel_directory
):
    """After ten restarts: exit code 1, and log, status and client have the reason."""
    server = rlay_command("serve", "game:Game", "-n", "game", "--restart")
    reason = "the quota of 10 restarts within 600 s is used up"
    env = rlay.ClientEnv("game", connect_timeout=120)
    for _ in range(11):
        env.reset(options={"what": "_exit 4"})
        with pytest.raises(rlay.EnvLost, match="ended without a goodbye"):
            env.step(0)
    shown = wait_until(lambda: given_up(channel_directory, server.pid), LIMIT_S)
    assert shown.startswith("gone: the environment of 'game' exited with code 4")
    with pytest.raises(rlay.EnvLost, match=reason) as caught:
        env.reset()
    assert caught.value.executed is False
    assert "exited with code 4; it crashed 11 times in all" in str(caught.value)
    server.wait(exit_code=1)
    assert server.stderr.count("starting it again") == 10
    assert reason in server.stderr
    env.close()
    assert empty(channel_directory)


def given_up(directory: Path, pid: int) -> str:
    """What a list of channels shows for one that its supervisor holds by now."""
    with contextlib.suppress(rlay.ChannelError):
        for view in list_channels(directory):
            if view.server is not None and view.server.held and view.server.pid == pid:
                return view.server.program
    return ""
