"""Links that break, for clients that attach to a bridge."""

from typing import Final

import numpy as np

from clients.conformance.cases.delivery import counting, run_steps
from clients.conformance.cases.registering import case
from clients.conformance.stage import Stage

_MAPPED: Final = "a mapped channel has no link"
_CUTS: Final = 4


@case("link cut between steps", mapped=_MAPPED)
def _between(stage: Stage) -> None:
    """The session goes on over another link: no step is lost or done twice."""
    proxy = stage.proxy()
    program = stage.start(counting(), endpoint="{}:{}".format(*proxy.address))
    with stage.attached(program) as env:
        env.reset()
        for cut in range(_CUTS):
            run_steps(env, 1 + 20 * cut, 20)
            proxy.cut()
        run_steps(env, 1 + 20 * _CUTS, 20)
        assert proxy.cuts >= _CUTS, f"{proxy.cuts} links were cut"
    program.wait(20)


@case("link cut in a message", mapped=_MAPPED)
def _within(stage: Stage) -> None:
    """A message that was cut off on its way is sent again, in either direction."""
    proxy = stage.proxy()
    program = stage.start(counting(), endpoint="{}:{}".format(*proxy.address))
    with stage.attached(program, step_timeout=20) as env:
        env.reset()
        number = 1
        for offset in (1, 40, 64, 70, 100, 130):
            for direction in ("to_listener", "to_dialer"):
                before = proxy.cuts
                proxy.cut_after(offset, direction)
                while proxy.cuts == before:
                    run_steps(env, number, 1)
                    number += 1
        run_steps(env, number, 10)
    program.wait(20)


@case("damaged frame", mapped=_MAPPED)
def _damaged(stage: Stage) -> None:
    """A frame whose bytes were damaged ends the link, and the session goes on."""
    proxy = stage.proxy()
    program = stage.start(counting(), endpoint="{}:{}".format(*proxy.address))
    with stage.attached(program, step_timeout=20) as env:
        env.reset()
        run_steps(env, 1, 5)
        before = proxy.connections
        proxy.corrupt(10, direction="to_dialer")
        env.step(np.int64(6))
        run_steps(env, 7, 5)
        assert proxy.connections > before, "the damaged link was kept"
    program.wait(20)
