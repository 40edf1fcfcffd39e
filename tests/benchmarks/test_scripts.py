"""The benchmark scripts run and name their rows; their figures are not judged."""

import importlib.util

import pytest

from tests.support.benchmark_scripts import TIMEOUT_S, row_names, run_script

CONTENDERS = {
    "in-process",
    "RLay ClientEnv",
    "RLay ServerEnv",
    "AsyncVectorEnv(1)",
    "Pipe and pickle",
}
FLOORS = {"C ping-pong, spin in bursts", "C ping-pong, futex only"}
FRAMES = {
    "RLay ClientEnv, copy=False",
    "RLay ClientEnv, copy=False, reads 2 bytes",
    "C ping-pong, into a fresh array",
    "C ping-pong, into a kept array",
    "C ping-pong, not copied out",
}


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_local_trivial_measures_rlay_its_peers_and_the_floor(tmp_path):
    """The trivial environment is measured over every contender, beside the floor."""
    options = ("--part", "trivial", "--place", "unpinned")
    result = run_script("bench_local.py", tmp_path, *options)
    expected = CONTENDERS | FLOORS | {"RLay ClientEnv, int action"}
    assert list(row_names(result).values()) == [expected]


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_local_cartpole_measures_rlay_and_its_peers(tmp_path):
    """CartPole is measured over every contender."""
    options = ("--part", "cartpole", "--place", "one CPU")
    result = run_script("bench_local.py", tmp_path, *options)
    assert list(row_names(result).values()) == [CONTENDERS]


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_local_sizes_measures_three_frames_with_and_without_copy(tmp_path):
    """Each size has RLay's copies and views beside the floor of the same bytes."""
    options = ("--part", "sizes", "--place", "unpinned")
    result = run_script("bench_local.py", tmp_path, *options)
    assert list(row_names(result).values()) == [CONTENDERS | FRAMES] * 3


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_oversubscribed_measures_three_ways_of_waiting(tmp_path):
    """Each environment has RLay's default beside two simpler ways, and its peers."""
    result = run_script("bench_oversubscribed.py", tmp_path)
    waits = ("default", "futex only", "fixed spin 50 us")
    expected = {
        f"RLay {name}, {waiting}"
        for name in ("ClientEnv", "ServerEnv")
        for waiting in waits
    } | {"AsyncVectorEnv(1)", "Pipe and pickle"}
    *crowds, idle = row_names(result).values()
    assert [rows == expected for rows in crowds] == [True] * 3
    assert idle == {"RLay ClientEnv", "RLay ServerEnv", "AsyncVectorEnv(1)"}


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_endurance_samples_memory_descriptors_and_files(tmp_path):
    """Both ways, with and without info, report eleven samples of both processes."""
    result = run_script("bench_endurance.py", tmp_path)
    assert set(row_names(result)) == {
        f"RLay {name}, {info} info"
        for name in ("ClientEnv", "ServerEnv")
        for info in ("no", "with")
    }
    assert [len(section["rows"]) for section in result["sections"]] == [11] * 4


BRIDGES = "RLay through two bridges"
HAS_DIRECT = importlib.util.find_spec("rlay.transport.socket_client") is not None
DIRECT = {"RLay direct attach"} if HAS_DIRECT else set()


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_remote_latency_measures_bridges_beside_raw_tcp(tmp_path):
    """Each of four sizes has the raw ping-pong of the same bytes in its table."""
    options = ("--part", "latency", "--place", "one CPU")
    result = run_script("bench_remote.py", tmp_path, *options)
    small, *frames = row_names(result).values()
    assert small == {"raw TCP", BRIDGES, f"{BRIDGES}, ServerEnv"} | DIRECT
    assert frames == [{"raw TCP", BRIDGES} | DIRECT] * 3


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_remote_throughput_measures_many_channels_near_and_far(tmp_path):
    """Many channels stand beside one, with and without 5 ms each way."""
    options = ("--part", "throughput", "--place", "unpinned")
    result = run_script("bench_remote.py", tmp_path, *options)
    expected = {
        "raw TCP, 1 message",
        "raw TCP, 3 messages at once",
        "RLay, 1 channel",
        "RLay, 3 channels at once",
        "RLay, 1 channel of 3 environments",
    }
    assert row_names(result) == {
        f"Many channels, {where}, unpinned": expected
        for where in ("loopback", "5 ms each way")
    }


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_remote_frames_and_idle_measure_rates_and_shares(tmp_path):
    """Frames have a byte rate beside two raw ones; idle bridges a share of a core."""
    options = ("--part", "frames", "--part", "idle", "--place", "unpinned")
    frames, idle = row_names(run_script("bench_remote.py", tmp_path, *options)).values()
    assert (
        frames
        == {
            "raw TCP, ping-pong",
            "raw TCP, stream without requests",
            BRIDGES,
            f"{BRIDGES}, copy=False",
            f"{BRIDGES}, 4 channels at once",
        }
        | DIRECT
    )
    assert idle == {"no channels", "5 channels", "5 channels, a client on each"}


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_remote_endurance_samples_all_four_processes(tmp_path):
    """Both ways report eleven samples, with the tasks of both bridges, no file left."""
    result = run_script("bench_remote.py", tmp_path, "--part", "endurance")
    assert set(row_names(result)) == {
        f"{BRIDGES}, {name}, 2,000 steps" for name in ("ClientEnv", "ServerEnv")
    }
    for section in result["sections"]:
        assert len(section["rows"]) == 11
        assert sum("tasks" in header for header in section["headers"]) == 2
        assert section["results"]["files_after_close"] == 0


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_remote_designs_measures_the_loop_and_threads(tmp_path):
    """The prototype with a thread for each slot still runs, beside the bridge."""
    options = ("--part", "designs", "--place", "unpinned")
    result = run_script("bench_remote.py", tmp_path, *options)
    expected = {"on the loop, through a FIFO", "a thread for each slot"}
    assert list(row_names(result).values()) == [expected] * 2
