"""``rlay ls``: the channels of this machine."""

import dataclasses
import time
from typing import Any, Final

import click

from rlay.cli.links import print_links, show_links
from rlay.cli.rates import Rates, steps_of
from rlay.cli.tables import number, print_table
from rlay.cli.words import directory_option, json_option, print_json, where
from rlay.protocol.constants import Paradigm
from rlay.transport.bridge_status import read_status
from rlay.transport.inspection import list_channels
from rlay.transport.views import ChannelView, EndView

_BETWEEN_LOOKS_S: Final = 0.3
_NAMES: Final = {Paradigm.CLIENT_ENV: "ClientEnv", Paradigm.SERVER_ENV: "ServerEnv"}
_COLUMNS: Final = (
    "CHANNEL", "CLASS", "ENVS", "STATE", "ENVIRONMENT", "ALGORITHM", "STEPS", "STEPS/S"
)  # fmt: skip


@click.command()
@click.option("--links", is_flag=True, help="Only the links of this machine's bridge.")
@json_option
@directory_option
def ls(links: bool, as_json: bool, directory: str | None) -> None:
    """List channels: who holds each end, and how fast they are.

    CLASS is the class that the algorithm uses. STEPS counts the requests of the present
    session, resets among them; a batch of environments counts once. Both are read from
    outside, without touching a running session. A stale channel is held by nobody:
    rlay clean removes it.

    Where a bridge serves the directory, its links follow.
    """
    if links:
        show_links(directory, as_json=as_json)
        return
    views = list_channels(directory)
    rates = _rates(views, directory)
    if as_json:
        print_json([as_dict(view, rates.get(view.name)) for view in views])
        return
    if views:
        _print(views, rates)
    else:
        click.echo(f"no channels in {where(directory)}")
    status = read_status(directory)
    if status is not None:
        click.echo("")
        print_links(status)


def _print(views: list[ChannelView], rates: dict[str, float | None]) -> None:
    print_table(
        _COLUMNS,
        [_row(view, rates.get(view.name)) for view in views],
        numbers=("ENVS", "STEPS", "STEPS/S"),
        long=("ENVIRONMENT", "ALGORITHM"),
    )
    for view in views:
        for text in filter(None, (view.problem, *view.warnings)):
            click.echo(f"{view.name}: {text}")


def _rates(views: list[ChannelView], directory: str | None) -> dict[str, float | None]:
    rates = Rates()
    found = rates.look(views, time.monotonic())
    if any(view.status == "attached" for view in views):
        time.sleep(_BETWEEN_LOOKS_S)
        found = rates.look(list_channels(directory), time.monotonic())
    return found


def paradigm_of(view: ChannelView) -> str | None:
    """Return the class that the algorithm uses, None where nobody can tell."""
    return None if view.facts is None else _NAMES[view.facts.paradigm]


def ends_of(view: ChannelView) -> tuple[EndView | None, EndView | None]:
    """Return the environment's end and the algorithm's."""
    if view.facts is not None and view.facts.paradigm is Paradigm.SERVER_ENV:
        return view.client, view.server
    return view.server, view.client


def as_dict(view: ChannelView, rate: float | None) -> dict[str, Any]:
    """Return everything that is known of a channel, for JSON."""
    facts = dataclasses.asdict(view)
    facts["facts"] = None
    if view.facts is not None:
        facts["facts"] = {
            "class": paradigm_of(view),
            "num_envs": view.facts.num_envs,
            "mirror": view.facts.mirror,
        }
    return {
        "name": view.name,
        "state": view.status,
        "steps": steps_of(view),
        "steps_per_s": rate,
        **facts,
    }


def _row(view: ChannelView, rate: float | None) -> list[str]:
    environment, algorithm = ends_of(view)
    count = view.facts.num_envs if view.facts is not None else 0
    return [
        view.name,
        paradigm_of(view) or "?",
        str(count or "?"),
        view.status,
        holder(environment),
        holder(algorithm),
        number(steps_of(view)),
        number(rate),
    ]


def holder(end: EndView | None) -> str:
    """Say who holds an end."""
    if end is None or not end.held:
        return "-"
    return f"{end.pid} {end.program}".strip()
