"""The comparisons run, name their rows and list who was not measured; no judgement."""

import json
import sys

import pytest

from tests.support.benchmark_scripts import TIMEOUT_S, row_names, run_script

MISSING = "not installed: `make bench-peers` installs it"


def cells(result):
    """Return the first figure, or the reason, of each row of all sections, by name."""
    return {row[0]: row[1] for section in result["sections"] for row in section["rows"]}


def compare(name, tmp_path, only, *options):
    """Run a comparison over the rows that match, without any peer installed."""
    peers = str(tmp_path / "peers")
    return run_script(name, tmp_path, "--only", only, "--peers", peers, *options)


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_local_lists_a_peer_that_is_not_installed_with_its_reason(tmp_path):
    """Both tables have RLay and the floor measured, and the missing peer named."""
    only = "RLay ClientEnv|pyzmq, TCP|C ping-pong, futex"
    result = compare("compare_local.py", tmp_path, only)
    here, cartpole = row_names(result).values()
    assert here == {"RLay ClientEnv", "pyzmq, TCP", "C ping-pong, futex only"}
    assert cartpole == {"RLay ClientEnv", "pyzmq, TCP"}
    assert cells(result)["pyzmq, TCP"] == MISSING
    assert float(cells(result)["RLay ClientEnv"].replace(",", "")) > 0


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_a_peer_that_fails_is_listed_and_the_others_are_measured(tmp_path):
    """The last line of the failed program is the reason in its row."""
    # A virtual environment that says that it has the package, and has not.
    python = tmp_path / "peers" / "grpc" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    stamp = tmp_path / "peers" / "grpc" / "installed.json"
    stamp.write_text(json.dumps({"version": "1"}))
    found = cells(compare("compare_remote.py", tmp_path, "raw TCP in C|gRPC stream"))
    assert "ended: ModuleNotFoundError" in found["gRPC stream of bytes"]
    assert float(found["raw TCP in C"].replace(",", "")) > 0


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_remote_measures_bridges_and_direct_beside_raw_tcp(tmp_path):
    """Frames have both ways; what works on one machine only is listed as that."""
    only = "raw TCP in Python|^RLay|EnvPool"
    result = compare("compare_remote.py", tmp_path, only, "--tables", "84x84x3")
    expected = {"raw TCP in Python", "RLay through two bridges", "RLay direct attach"}
    assert list(row_names(result).values()) == [expected | {"EnvPool"}]
    assert cells(result)["EnvPool"] == "this machine only"


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_sizes_go_from_16_bytes_to_6_mb(tmp_path):
    """There is a table for each of five sizes."""
    result = compare("compare_sizes.py", tmp_path, "in-process|C ping-pong")
    sizes = [section["title"] for section in result["sections"]]
    assert [sizes[0], sizes[-1], len(sizes)] == ["16 bytes", "6,220,800 bytes", 5]


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_lanes_measures_one_channel_beside_gymnasium(tmp_path):
    """Rates stand beside those of Gymnasium's two vector environments."""
    only = "SyncVectorEnv|RLay, 1 channel, CartPole of arrays"
    result = compare("compare_lanes.py", tmp_path, only)
    assert list(row_names(result)) == ["Lanes: 1", "Lanes: 2"]
    assert all(float(cell.replace(",", "")) > 0 for cell in cells(result).values())


@pytest.mark.timeout(TIMEOUT_S + 10)
def test_training_learns_over_a_channel(tmp_path):
    """An iteration of the learner is measured over RLay and in-process."""
    result = compare("compare_training.py", tmp_path, "SyncVectorEnv|RLay, 1 channel")
    (rows,) = row_names(result).values()
    assert rows == {"SyncVectorEnv, in-process", "RLay, 1 channel"}
