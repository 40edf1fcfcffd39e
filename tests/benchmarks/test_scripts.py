"""The benchmark scripts run and name their rows; their figures are not judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TIMEOUT_S = 240


def run_script(name, tmp_path, *options):
    """Run one script with tiny counts and return what its JSON file holds."""
    output = tmp_path / "result.json"
    # No waiting for a quiet machine: the figures are not judged here.
    command = [sys.executable, str(BENCHMARKS / name), "--quick", "--quiet-cores", "99"]
    command += ["--json", str(output)]
    done = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(output.read_text())
    for section in result["sections"]:
        for row in section["rows"]:
            assert "| " + " | ".join(row) + " |" in done.stdout
    return result


def row_names(result):
    """Return the set of first cells of each section, by its title."""
    return {
        section["title"]: {row[0] for row in section["rows"]}
        for section in result["sections"]
    }


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
