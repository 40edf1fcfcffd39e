"""The image is small in what it may do, and has both commands."""

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

CONFINED = (
    "run",
    "--rm",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)


def test_its_program_is_rlay(docker, image):
    """What is given to the container are arguments of ``rlay``."""
    assert docker(*CONFINED, image, "--version").startswith("rlay")


def test_it_runs_as_a_user_that_is_not_root(docker, image):
    """The user is 1000, without a capability, and cannot become more."""
    status = docker(*CONFINED, "--entrypoint", "cat", image, "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["1000"] * 4
    assert fields["Gid"].split() == ["1000"] * 4
    assert int(fields["CapEff"], 16) == 0
    assert int(fields["CapPrm"], 16) == 0


def test_nothing_in_it_belongs_to_its_user(docker, image):
    """The program cannot change its own files, even where they may be written to."""
    as_root = (*CONFINED, "--user=0", "--entrypoint", "find")
    assert docker(*as_root, image, "/", "-xdev", "-user", "1000") == ""


def test_a_channel_in_its_own_memory(docker, image):
    """Without a volume it serves from the container's own /dev/shm."""
    code = (
        "import rlay\n"
        "with rlay.spawn('CartPole-v1') as env:\n"
        "    env.reset(seed=1)\n"
        "    print(len(env.step(1)))\n"
    )
    said = docker(*CONFINED, "--entrypoint", "python", image, "-c", code)
    assert said.split() == ["5"]
