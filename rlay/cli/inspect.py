"""``rlay inspect``: one channel, read without touching it."""

import time
from collections.abc import Iterator

import click

from rlay.cli.ls import as_dict, ends_of, paradigm_of
from rlay.cli.rates import Rates
from rlay.cli.words import (
    ChannelName,
    Failed,
    directory_option,
    json_option,
    print_json,
)
from rlay.errors import ChannelNotFound
from rlay.transport.inspection import inspect_channel, list_channels
from rlay.transport.views import ChannelView, EndView, SlotView

_BETWEEN_LOOKS_S = 0.3


@click.command("inspect")
@click.argument("name", type=ChannelName())
@json_option
@directory_option
def inspect_(name: str, as_json: bool, directory: str | None) -> None:
    """Show the header of a channel, running or not.

    The files are only read: neither end notices.
    """
    try:
        view, rate = _look_twice(name, directory)
    except ChannelNotFound as error:
        raise Failed(_not_found(str(error), directory)) from None
    if as_json:
        print_json(as_dict(view, rate))
        return
    for line in _lines(view, rate):
        click.echo(line)


def _look_twice(name: str, directory: str | None) -> tuple[ChannelView, float | None]:
    rates = Rates()
    view = inspect_channel(name, directory)
    rates.look([view], time.monotonic())
    if view.status != "attached":
        return view, None
    time.sleep(_BETWEEN_LOOKS_S)
    view = inspect_channel(name, directory)
    return view, rates.look([view], time.monotonic())[name]


def _not_found(text: str, directory: str | None) -> str:
    names = [view.name for view in list_channels(directory)]
    return f"{text}. Channels there: {', '.join(names) or 'none'}"


def _lines(view: ChannelView, rate: float | None) -> Iterator[str]:
    yield _line("channel", view.name)
    yield _line("path", view.path)
    yield _line("state", view.status)
    if view.problem:
        yield _line("problem", view.problem)
    if view.facts is not None:
        environment, algorithm = ends_of(view)
        yield _line("class", paradigm_of(view))
        yield _line("environments", view.facts.num_envs or "not known yet")
        yield _line("made by a bridge", "yes" if view.facts.mirror else "no")
        yield _line("protocol", f"{view.version}.{view.minor}")
        if view.sessions:
            yield _line("generation", view.generation)
            yield _line("incarnation", view.incarnation)
            yield _line("session", f"{view.session} (number {view.sessions})")
        else:
            yield _line("session", "none yet")
        yield from _end_lines("environment", environment)
        yield from _end_lines("algorithm", algorithm)
    yield from _slot_lines("request", view.request)
    yield from _slot_lines("reply", view.reply)
    if rate is not None:
        yield _line("rate", f"{rate:,.0f} requests/s")
    for file, size_bytes in (view.files or {}).items():
        yield _line(f"file {file}", f"{size_bytes:,} bytes")
    for warning in view.warnings:
        yield _line("warning", warning)


def _end_lines(name: str, end: EndView | None) -> Iterator[str]:
    if end is None:
        return
    held = "held" if end.held else "not held"
    said = f"{end.state}, {end.reason}" if end.reason != "none" else end.state
    yield _line(name, f"lock {held}; says it is {said}")
    if end.pid:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end.since))
        yield _line("", f"{end.holder} {end.pid}: {end.program or '?'}, since {since}")
        can = ", ".join(end.capabilities) or "nothing special"
        yield _line("", f"rung by {end.bell}; can do: {can}")


def _slot_lines(name: str, slot: SlotView | None) -> Iterator[str]:
    if slot is None:
        return
    waits = "waits to be taken" if slot.waiting else "taken"
    yield _line(f"{name} slot", f"{slot.capacity_bytes:,} bytes of room")
    if slot.kind is not None:
        part = f", part {slot.part + 1} of {slot.parts}" if slot.parts > 1 else ""
        yield _line(
            "",
            f"last message: {slot.kind} {slot.sequence}, {slot.payload_bytes:,} "
            f"bytes{part}, {waits}",
        )


def _line(name: str, value: object) -> str:
    return f"{name:<17} {value}"
