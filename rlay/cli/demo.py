"""``rlay demo``: both paradigms at work, shown to be exact, and measured."""

import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

import click

from rlay.cli import logs
from rlay.cli.machines import NotStarted, this_machine
from rlay.cli.tables import number, print_table
from rlay.cli.words import Failed, directory_option, where

ENVIRONMENT: Final = "CartPole-v1"
STEPS: Final = 2000
SEED: Final = 20
_END_LIMIT_S: Final = 10.0
_GAME: Final = """\
import sys
import gymnasium, rlay
env = gymnasium.make(sys.argv[1])
with rlay.ClientBackend(env, name=sys.argv[2], directory=sys.argv[3]) as backend:
    backend.run(sessions=1)
"""


@click.command()
@directory_option
def demo(directory: str | None) -> None:
    """Run CartPole-v1 in a second process and behind two bridges, and measure it.

    Shows that environments behind RLay return what they return in this process, bit
    for bit, and how many steps per second they make: here, through RLay on this
    machine, through RLay's bridges as if on another one, and through Gymnasium's own
    AsyncVectorEnv. Takes about 25 seconds.
    """
    logs.configure(quiet=True)
    # The worker is forked: first, so that there is nothing for it to inherit.
    with (
        _async_vector_env() as vector,
        _both_ways(where(directory)) as environments,
        _another_machine() as remote,
    ):
        environments.update(remote)
        _prove(environments)
        _measure(vector, environments)


@contextmanager
def _async_vector_env() -> Iterator[Any]:
    from gymnasium.vector import AsyncVectorEnv

    from rlay.cli.demo_contest import make_cartpole

    with closing(AsyncVectorEnv([make_cartpole])) as vector:
        yield vector


@contextmanager
def _both_ways(directory: str) -> Iterator[dict[str, Any]]:
    """Start the environment in a second process, twice, and the game in a third."""
    import rlay
    from rlay.processes.child import ChildProcess

    click.echo(
        f"1. A second process serves {ENVIRONMENT}; rlay.ClientEnv steps it from here."
    )
    client_env = rlay.spawn(ENVIRONMENT, directory=directory)
    with closing(client_env):
        click.echo(
            f"2. A third process plays {ENVIRONMENT} in a loop of its own and asks for "
            "each action;\n   rlay.ServerEnv answers from here."
        )
        name = f"demo-{secrets.token_hex(4)}"
        with closing(rlay.ServerEnv(name, directory=directory)) as server_env:
            words = [sys.executable, "-c", _GAME, ENVIRONMENT, name, directory]
            game = ChildProcess.start(words)
            try:
                server_env.wait_until_connected()
                yield {"ClientEnv": client_env, "ServerEnv": server_env}
            finally:
                server_env.close()
                ending = game.wait(_END_LIMIT_S) or game.end()
                game.end()
            if ending.code != 0:
                raise Failed(f"the game {ending.with_lines()}")


@contextmanager
def _another_machine() -> Iterator[dict[str, Any]]:
    """Start the environment behind two bridges; without them the demo goes on."""
    from rlay.cli.demo_machines import environment_behind_bridges

    click.echo(
        f"3. Another machine serves {ENVIRONMENT}: two bridges, each with channels of "
        "its own, and\n   loopback between them. The same rlay.ClientEnv steps it from "
        "here."
    )
    with ExitStack() as stack:
        try:
            env = stack.enter_context(environment_behind_bridges(ENVIRONMENT))
        except NotStarted as error:
            click.echo(f"   Left out: {error}", err=True)
            yield {}
        else:
            yield {"two bridges": env}


def _prove(environments: dict[str, Any]) -> None:
    from rlay.cli.demo_contest import make_cartpole
    from rlay.cli.demo_trajectory import first_difference, trajectory

    with closing(make_cartpole()) as here:
        expected = trajectory(here, STEPS, SEED)
    for name, env in environments.items():
        difference = first_difference(expected, trajectory(env, STEPS, SEED))
        if difference is not None:
            raise Failed(f"{name} differs from the same environment here: {difference}")
    episodes = sum(event.name == "reset" for event in expected)
    click.echo(
        f"4. Exact: the same {STEPS:,} actions gave the same {STEPS:,} observations, "
        "rewards, flags\n"
        "   and infos here and there, whichever way, bit for bit, over "
        f"{episodes} episodes."
    )


def _measure(vector: Any, environments: dict[str, Any]) -> None:
    from rlay.cli.demo_contest import contest, make_cartpole

    click.echo(
        "5. Fast: steps per second, measured now (the median of alternating runs)."
    )
    with closing(make_cartpole()) as here:
        results = contest(
            {
                "in this process": here,
                **{f"RLay, {name}": env for name, env in environments.items()},
                "AsyncVectorEnv(1)": vector,
            },
            on_round=_show_round if sys.stdout.isatty() else None,
        )
    base, slow = results["in this process"], results["AsyncVectorEnv(1)"]
    click.echo()
    print_table(
        (ENVIRONMENT, "STEPS/S", "OF IN-PROCESS", "TIMES ASYNCVECTORENV"),
        [
            (name, number(rate), f"{rate / base:.0%}", f"{rate / slow:.1f}")
            for name, rate in results.items()
        ],
        ("STEPS/S", "OF IN-PROCESS", "TIMES ASYNCVECTORENV"),
    )
    click.echo()
    click.echo(this_machine())


def _show_round(done: int, rounds: int) -> None:
    # Nothing livelier: a thread that draws would be measured too.
    text = f"   round {done + 1} of {rounds}" if done < rounds else ""
    click.echo(f"\r{text:<30}\r", nl=False)
