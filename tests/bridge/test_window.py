"""How long a channel waits for a link that is down."""

import asyncio
from types import SimpleNamespace
from typing import Any

from rlay.bridge.window import Window
from tests.bridge.peers import until

FAR_S = 3600.0


def play(scene):
    """Run a coroutine with what opens a window, closes it, and notes its end."""

    async def run():
        loop = asyncio.get_running_loop()
        registry: Any = SimpleNamespace(
            later=lambda seconds, holder, call: loop.call_later(seconds, call)
        )
        over: list[None] = []
        window = Window(registry)
        channel: Any = None
        await scene(
            lambda s: window.open(s, channel, lambda: over.append(None)),
            window.close,
            over,
        )

    asyncio.run(run())


def test_window_ends_once():
    """Who waits gives up one time."""

    async def scene(open_for, close, over):
        open_for(0.001)
        await until(lambda: over, "it is over")
        await asyncio.sleep(0.01)
        assert len(over) == 1

    play(scene)


def test_closed_window_never_ends():
    """The link came back: closing twice, or before it was open, does no harm."""

    async def scene(open_for, close, over):
        close()
        open_for(0.001)
        close()
        close()
        await asyncio.sleep(0.01)
        assert over == []

    play(scene)


def test_window_that_is_opened_again_counts_from_then():
    """The first one is forgotten."""

    async def scene(open_for, close, over):
        open_for(0.001)
        open_for(FAR_S)
        await asyncio.sleep(0.01)
        assert over == []
        close()

    play(scene)
