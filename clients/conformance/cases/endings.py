"""Goodbyes and losses of the algorithm, as the program sees them."""

import signal
import subprocess
import sys
from typing import Final

from clients.conformance.cases.delivery import counting, run_steps
from clients.conformance.cases.registering import case
from clients.conformance.programs import wait_until
from clients.conformance.registry import ROOT
from clients.conformance.stage import Stage

_LIMIT_S: Final = 20.0

_ALGORITHM: Final = """
import sys, rlay
kind, name, directory = sys.argv[1:]
if kind == "game":
    env = rlay.ServerEnv(name, directory=directory, connect_timeout=15)
else:
    env = rlay.ClientEnv(name, directory=directory, connect_timeout=15)
env.reset()
env.step(1)
print("stepped", flush=True)
sys.stdin.read()
"""


@case("algorithm closes")
def _closes(stage: Stage) -> None:
    """The program's session ends, and after the last one the program."""
    program = stage.start(counting())
    with stage.attached(program) as env:
        env.reset()
        run_steps(env, 1, 3)
    program.wait(10)


@case(
    "algorithm closes before it reset",
    game="a trainer that leaves before the first request was never there for a game",
)
def _closes_early(stage: Stage) -> None:
    """Attaching and closing is a session too."""
    program = stage.start(counting())
    with stage.attached(program):
        pass
    program.wait(10)


@case("algorithm closes and another attaches")
def _another(stage: Stage) -> None:
    """The program waits for the next one: three sessions, each reset anew."""
    program = stage.start(counting(sessions=3))
    for session in (1, 2, 3):
        with stage.attached(program) as env:
            assert env.reset()[1] == {"resets": session}
            run_steps(env, 1, 4)
    program.wait(_LIMIT_S)


@case("algorithm killed")
def _killed(stage: Stage) -> None:
    """The program sees it, and waits for the next one."""
    program = stage.start(counting(sessions=2))
    algorithm = subprocess.Popen(
        [sys.executable, "-c", _ALGORITHM, stage.role, stage.channel,
         str(stage.place.directory)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert algorithm.stdin is not None
        assert algorithm.stdout is not None
        line = algorithm.stdout.readline()  # it ends within connect_timeout
        if line != "stepped\n":
            program.check()
            raise AssertionError(f"the algorithm said {line!r}")
        algorithm.send_signal(signal.SIGKILL)
        wait_until(lambda: algorithm.poll() is not None, 10, "the algorithm ends")
    finally:
        algorithm.kill()
        algorithm.wait(10)
        assert algorithm.stdin is not None
        assert algorithm.stdout is not None
        algorithm.stdin.close()
        algorithm.stdout.close()
    with stage.attached(program) as env:
        assert env.reset()[1] == {"resets": 2}
        run_steps(env, 1, 3)
    program.wait(_LIMIT_S)
