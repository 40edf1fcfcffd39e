"""``rlay bench``: how fast RLay is here, and where the time goes."""

import json
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from rlay.cli import logs
from rlay.cli.bench_options import Address, Output, Plan, Shape
from rlay.cli.signals import StopRequested, stops_call
from rlay.cli.words import (
    MAX_CHANNELS,
    ChannelName,
    Failed,
    directory_option,
    print_json,
)

_DTYPES: Final = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
)  # fmt: skip


@click.command()
@click.option(
    "--env",
    metavar="TARGET",
    help="What to serve, as for rlay serve. Default: an environment of RLay's own, "
    "which does nothing.",
)
@click.option(
    "--obs-shape",
    metavar="SHAPE",
    type=Shape(),
    help="Observation of RLay's own environment, such as 84x84x4. Default: 16.",
)
@click.option(
    "--obs-dtype",
    metavar="DTYPE",
    type=click.Choice(_DTYPES),
    help="Its dtype, such as float32. Default: uint8, so that it has 16 bytes.",
)
@click.option(
    "--channels",
    metavar="C",
    type=click.IntRange(1, MAX_CHANNELS),
    default=1,
    help="Step C channels at once: all actions are sent before the first reply is "
    "awaited. Named N.0 to N.C-1 where they are there already.",
)
@click.option("--bridges", is_flag=True, help="Put two bridges between, on loopback.")
@click.option(
    "--address",
    metavar="ADDRESS",
    type=Address(),
    help="Of an environment that runs already: tcp://HOST:PORT/NAME, or tls://.",
)
@click.option(
    "--name",
    metavar="N",
    type=ChannelName(),
    help="Of a channel that is there already, such as a mirror of another machine's.",
)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long to measure.",
)
@click.option(
    "--warmup",
    metavar="S",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="How long to do the same before that.",
)
@click.option(
    "--rounds",
    metavar="R",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="In which what is measured takes turns; figures are medians over them.",
)
@click.option(
    "--json",
    "json_to",
    metavar="FILE",
    type=Output(stdout=True),
    help="Write all figures as JSON; - prints them in place of the tables.",
)
@click.option(
    "--plot", metavar="FILE", type=Output(), help="Write a picture (PNG; matplotlib)."
)
@directory_option
def bench(json_to: str | None, plot: str | None, **options: Any) -> None:
    """Measure steps through RLay on this machine, or to another one.

    \b
    In another process:  rlay bench --env CartPole-v1
    Behind two bridges:  rlay bench --obs-shape 84x84x4 --bridges
    On another machine:  rlay bench --address tcp://HOST:7450/NAME

    Prints steps per second, latencies, CPU time of a step, and where the time of a step
    goes. Ctrl-C ends it with the figures so far; nothing that it started is left.
    """  # noqa: D301 - click reads the backspaces
    plan = Plan.of(options)
    if plot is not None:
        from rlay.cli.bench_plot import check_matplotlib

        check_matplotlib()
    logs.configure(quiet=True)
    # Only the first signal: what it interrupts cleans up, within seconds.
    with stops_call(_raise_once()):
        _run(plan, json_to, plot)


def _raise_once() -> Callable[[str], None]:
    stopped: list[str] = []

    def stop(name: str) -> None:
        stopped.append(name)
        if len(stopped) == 1:
            raise StopRequested(name)

    return stop


def _run(plan: Plan, json_to: str | None, plot: str | None) -> None:
    from rlay.cli.bench_measuring import measuring
    from rlay.cli.machines import NotStarted

    try:
        with measuring(plan) as measurement:
            if sys.stderr.isatty():
                measurement.on_round = _show_round
            try:
                measurement.run()
            except StopRequested:
                if not measurement.rounds:
                    raise
                _show_round(0, 0)
            _tell(measurement.report(), json_to, plot)
    except NotStarted as error:
        raise Failed(str(error)) from error


def _show_round(done: int, rounds: int) -> None:
    # Nothing livelier: a thread that draws would be measured too.
    text = f"round {done + 1} of {rounds}" if done < rounds else ""
    if sys.stderr.isatty():
        click.echo(f"\r{text:<30}\r", nl=False, err=True)


def _tell(report: Any, json_to: str | None, plot: str | None) -> None:
    from rlay.cli.bench_report import as_dict, show

    if json_to == "-":
        print_json(as_dict(report))
    else:
        show(report)
    if json_to not in (None, "-"):
        _write(str(json_to), json.dumps(as_dict(report), indent=2) + "\n")
    if plot is not None:
        from rlay.cli.bench_plot import draw

        draw(report, plot)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Failed(f"{path!r} cannot be written: {error.strerror}") from error
