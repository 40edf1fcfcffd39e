"""``rlay bench``, with real processes. That it measures is tested, never how fast."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from rlay.cli import bench_measuring, bench_rounds, main
from rlay.cli.bench import _raise_once
from rlay.cli.signals import StopRequested
from rlay.testing.timed import TAKE_STEP_TIMES
from tests.support.bridge_child import BridgeChild
from tests.support.waiting import wait_until

SHORT = ["--seconds", "0.2", "--warmup", "0.02", "--rounds", "2"]
PARTS = ["environment", "waking", "copying", "bridge", "network"]
FIGURES = {
    "steps": int,
    "steps_per_s": float,
    "p50_us": float,
    "p99_us": float,
    "p999_us": float,
    "bytes_per_s": float,
    "cpu_us_per_step": dict,
    "latencies": list,
}
LIMIT_S = 30.0


def run(capsys, *words):
    """Exit code, stdout and stderr of a short ``rlay bench`` in this process."""
    code = main(["bench", *SHORT, *words])
    return (code, *capsys.readouterr())


def measured(capsys, *words):
    """What ``--json -`` prints."""
    code, out, err = run(capsys, "--json", "-", *words)
    assert (code, err) == (0, "")
    return json.loads(out)


def known(found):
    """The parts that are known."""
    parts = found["breakdown"]["parts"]
    assert list(parts) == PARTS
    return [name for name in PARTS if parts[name]["us"] is not None]


def processes_of(directory):
    """Command lines of processes in which a directory is named."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:  # it has just ended
                continue
            if os.fsencode(directory) in line:
                lines.append(line)
    return lines


# ------------------------------------------------------------------- it measures


def test_bench_json_has_every_figure_and_its_kind(capsys, channel_directory):
    """The schema that the page on measuring describes; nothing is left in memory."""
    found = measured(capsys, "--directory", str(channel_directory))
    assert {key: type(value) for key, value in found.items()} == {
        "format": int,
        "software": str,
        "machine": str,
        "what": str,
        "place": str,
        "channels": int,
        "observation_space": str,
        "seconds": float,
        "rounds": int,
        "rounds_wanted": int,
        "complete": bool,
        "message_bytes": int,
        "one_channel": dict,
        "all_channels": type(None),
        "breakdown": dict,
    }
    assert (found["place"], found["rounds"], found["complete"]) == ("here", 2, True)
    one = found["one_channel"]
    assert {key: type(value) for key, value in one.items()} == FIGURES
    assert list(one["cpu_us_per_step"]) == ["algorithm", "environment"]
    assert sum(bucket["count"] for bucket in one["latencies"]) == one["steps"]
    assert found["message_bytes"] == 16 + 16
    assert known(found) == PARTS
    assert {"step_us", "parts", "other_us"} == set(found["breakdown"])


def test_bench_behind_bridges_measures_every_part(capsys, tmp_path):
    """Tables on stdout and figures in the file; many channels beside one."""
    file = tmp_path / "figures.json"
    code, out, err = run(
        capsys, "--bridges", "--channels", "2", "--obs-shape", "8x8",
        "--obs-dtype", "float32", "--json", str(file),
    )  # fmt: skip
    assert (code, err) == (0, "")
    found = json.loads(file.read_text())
    assert (found["place"], found["channels"]) == ("bridges", 2)
    assert found["message_bytes"] == 16 + 8 * 8 * 4
    assert known(found) == PARTS
    assert list(found["all_channels"]["cpu_us_per_step"]) == [
        "algorithm",
        "environment",
        "environment's bridge",
        "algorithm's bridge",
    ]
    lines = [line.split("  ")[0] for line in out.splitlines()]
    for row in ["one channel", "2 channels at once", *PARTS, "other", "a step"]:
        assert row in lines
    assert "so they need not add up exactly" in out


SHORT_LIVED = """
import gymnasium

class ShortLived(gymnasium.Env):
    observation_space = action_space = gymnasium.spaces.Discrete(2)
    over = True

    def reset(self, *, seed=None, options=None):
        self.over = False
        return 0, {}

    def step(self, action):
        assert not self.over
        self.over = True
        return 1, 0.5, True, False, {}
"""


def test_bench_of_an_environment_resets_it(capsys, here, monkeypatch):
    """One of the current directory: each step ends its episode, and wants a reset."""
    (here / "short.py").write_text(SHORT_LIVED)
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = measured(capsys, "--env", "short:ShortLived", "--channels", "2")
    assert found["what"].startswith("short:ShortLived, in another process")
    assert found["one_channel"]["steps"] >= 2
    assert found["all_channels"]["steps"] >= 4
    assert known(found) == PARTS


SERVE = ["serve", "rlay.testing.environments:HashChainEnv", "--name"]
TIMED = [
    "serve",
    "rlay.testing.timed:timed",
    "--allow",
    TAKE_STEP_TIMES,
    "--name",
]


@pytest.fixture
def patient(monkeypatch):
    """Give what was only just started the time to begin."""
    monkeypatch.setattr(bench_measuring, "_CONNECT_LIMIT_S", LIMIT_S)


@pytest.mark.usefixtures("patient")
def test_bench_at_an_address_does_not_guess(capsys, children, rlay_command):
    """An environment elsewhere that does not time itself is not known."""
    bridge = BridgeChild(children, "--directory", os.environ["RLAY_DIR"])
    rlay_command(*SERVE, "chain", forever=True)
    found = measured(capsys, "--address", f"tcp://127.0.0.1:{bridge.port}/chain")
    assert found["place"] == "address"
    assert known(found) == ["copying", "network"]
    how = found["breakdown"]["parts"]["environment"]["how"]
    assert how.startswith("not known: runs elsewhere")
    assert list(found["one_channel"]["cpu_us_per_step"]) == ["algorithm"]


@pytest.mark.usefixtures("patient")
def test_bench_of_a_channel_asks_an_environment_that_times_itself(capsys, rlay_command):
    """Two channels of a group that is there already; they stay there."""
    servers = [rlay_command(*TIMED, f"there.{n}", forever=True) for n in (0, 1)]
    found = measured(capsys, "--name", "there", "--channels", "2")
    assert known(found) == PARTS
    assert found["all_channels"]["steps"] >= 4
    for server in servers:
        assert "gone" not in server.stderr  # each client said goodbye


@pytest.mark.usefixtures("patient")
def test_bench_of_a_mirror_knows_that_it_is_one(
    capsys, children, rlay_command, tmp_path
):
    """A bridge made the channel: waking and the bridges cannot be told apart."""
    near, far = (str(tmp_path / machine) for machine in ("near", "far"))
    bridge = BridgeChild(children, "--directory", far)
    where = ["--connect", f"127.0.0.1:{bridge.port}", "--directory", near]
    rlay_command("bridge", *where, forever=True)
    rlay_command(*TIMED, "there", "--directory", far, forever=True)
    found = measured(capsys, "--name", "there", "--directory", near)
    assert found["place"] == "mirror"
    parts = known(found)
    if "network" in parts:  # there was a heartbeat already
        parts.remove("network")
    assert parts == ["environment", "copying"]


@pytest.mark.parametrize(
    ("trips_s", "heartbeat_us"),
    [(None, None), ([], None), ([None], None), ([0.002], 2000.0), ([0.1, 0.1], None)],
)
def test_heartbeat_is_that_of_the_only_link(monkeypatch, trips_s, heartbeat_us):
    """With several links nobody knows which one carries the channel."""
    links = [{"round_trip_p50_s": trip_s} for trip_s in trips_s or []]
    status = None if trips_s is None else {"links": links}
    monkeypatch.setattr(bench_measuring, "read_status", lambda directory: status)
    assert bench_measuring._heartbeat_us(None) == heartbeat_us


# -------------------------------------------------------------------- it is stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_bench_stopped_at_its_start_leaves_nothing(
    rlay_command, channel_directory, number
):
    """Nothing was measured: exit code 1, one word, no process and no file."""
    bench = rlay_command("bench", "--bridges", "--directory", str(channel_directory))
    wait_until(lambda: len(processes_of(channel_directory)) > 3, LIMIT_S)
    bench.send_signal(number)
    bench.send_signal(number)  # of no use: it cleans up already
    bench.wait(exit_code=1)
    assert bench.stderr.strip() == "Stopped."
    assert processes_of(channel_directory) == []
    assert list(channel_directory.iterdir()) == []


@pytest.mark.parametrize("where", ["step", "at once", "copying", "network"])
def test_bench_interrupted_tells_the_figures_so_far(
    capsys, channel_directory, monkeypatch, where
):
    """Exit code 0, whatever was going on; who reads the JSON knows it is not all."""
    begin = bench_rounds.run_rounds

    def interrupted(turns, done, **options):
        def take_long(seconds):
            if not done:
                return turns[where](seconds)
            timer = threading.Timer(
                0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGINT)
            )
            timer.start()
            try:
                return turns[where](1000.0)
            finally:
                timer.join()

        begin({**turns, where: take_long}, done, **options)

    monkeypatch.setattr(bench_measuring, "run_rounds", interrupted)
    more = {"at once": ["--channels", "2"], "network": ["--bridges"]}.get(where, [])
    found = measured(capsys, "--directory", str(channel_directory), *more)
    assert (found["rounds"], found["rounds_wanted"]) == (1, 2)
    assert found["complete"] is False
    assert processes_of(channel_directory) == []


def test_only_the_first_signal_stops():
    """What it interrupts cleans up, and a second one must not interrupt that."""
    stop = _raise_once()
    with pytest.raises(StopRequested, match="SIGINT"):
        stop("SIGINT")
    stop("SIGTERM")


# ---------------------------------------------------------------------- it fails


def test_bench_of_a_misspelt_id_is_a_wrong_call(capsys):
    """Exit code 2, and the right id."""
    code, _, err = run(capsys, "--env", "CartPol-v1")
    assert code == 2
    assert "Did you mean CartPole-v1" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--name", "x", "--address", "tcp://h/x"], "exclude each other"),
        (["--address", "tcp://h/x", "--bridges"], "runs already"),
        (["--name", "x", "--obs-shape", "4"], "runs already"),
        (["--env", "CartPole-v1", "--obs-dtype", "int8"], "its own observations"),
        (["--obs-shape", "84x0"], "'84x0' is no shape"),
        (["--obs-shape", "84by84"], "is no shape"),
        (["--obs-shape", "99999x99999"], "9,999,800,001 bytes cannot travel"),
        (["--obs-shape", "x".join("1" * 17)], "has more than 16 dimensions"),
        (["--obs-dtype", "uint9"], "'uint9' is not one of"),
        (["--address", "h:1/x"], "is no address"),
        (["--json", "/no/such/file"], "there is no directory '/no/such'"),
        (["--plot", "/"], "is a directory"),
        (["--seconds", "0"], "0"),
        (["--channel", "2"], "--channels"),
    ],
)
def test_bench_called_wrongly_says_so(capsys, words, text):
    """Exit code 2, before anything is started."""
    code, _, err = run(capsys, *words)
    assert code == 2
    assert text in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--name", "nobody"], "no channel 'nobody' appeared"),
        (["--address", "tcp://127.0.0.1:1/nobody"], "nobody listens on 127.0.0.1:1"),
    ],
)
def test_bench_without_its_peer_says_what_is_missing(
    capsys, channel_directory, monkeypatch, words, text
):
    """Exit code 1, with the message of any other client."""
    monkeypatch.setattr(bench_measuring, "_CONNECT_LIMIT_S", 0.1)
    code, out, err = run(capsys, *words)
    assert (code, out) == (1, "")
    assert text in err


def test_bench_of_a_name_that_leads_elsewhere_is_refused(capsys):
    """Exit code 78: no file was looked at."""
    code, _, err = run(capsys, "--name", "../x")
    assert code == 78
    assert "cannot name a channel" in err


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("crash", "the environment of bench exited with code 9"),
        ("needy", "DependencyNotInstalled: run: pip install simulator"),
    ],
)
def test_bench_of_an_environment_that_cannot_be_made_says_why(
    capsys, here, monkeypatch, channel_directory, factory, text
):
    """Exit code 1: its process ended, or could not make it; nothing is left."""
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, out, err = run(
        capsys, "--env", f"game:{factory}", "--directory", str(channel_directory)
    )
    assert (code, out) == (1, "")
    assert err.startswith(f"Error: {text}")
