"""Render modes that RLay adds at the algorithm's end, with Gymnasium's own wrappers.

A backend that renders ``rgb_array`` can be watched in a local window (``human``),
and its frames collected (``rgb_array_list``). Gymnasium's wrappers do both; they are
given a stand-in environment whose only deed is to fetch a frame.
"""

from collections.abc import Callable
from typing import Any, Final

import gymnasium
from gymnasium.wrappers import HumanRendering, RenderCollection

from rlay.errors import ChannelError

LIST_SUFFIX: Final = "_list"


class _FrameSource(gymnasium.Env[Any, Any]):
    """Renders through a function; its steps and resets do nothing."""

    def __init__(
        self, fetch: Callable[[], Any], mode: str, metadata: dict[str, Any]
    ) -> None:
        self._fetch = fetch
        self.render_mode = mode
        modes = [*metadata.get("render_modes", []), mode]
        self.metadata = {"render_fps": 30, **metadata, "render_modes": modes}

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, Any]:
        return None, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return None, 0.0, False, False, {}

    def render(self) -> Any:
        return self._fetch()


class Display:
    """Shows or collects the frames of a remote environment."""

    def __init__(
        self,
        wanted: str,
        remote: str,
        fetch: Callable[[], Any],
        metadata: dict[str, Any],
    ) -> None:
        """Set up a window or a collection.

        Args:
            wanted: ``human``, or the remote mode with ``_list``.
            remote: How the remote environment renders.
            fetch: Returns one frame.
            metadata: Of the remote environment.
        """
        source = _FrameSource(fetch, remote, metadata)
        self._env: gymnasium.Env[Any, Any]
        if wanted == "human":
            self._env = HumanRendering(source)
        else:
            self._env = RenderCollection(source)

    def after_reset(self) -> None:
        """Show or collect the first frame."""
        self._env.reset()

    def after_step(self) -> None:
        """Show or collect the frame after a step."""
        self._env.step(None)

    def render(self) -> Any:
        """Return the frames collected, or None for a window."""
        return self._env.render()

    def close(self) -> None:
        """Close the window."""
        self._env.close()


def display_for(
    wanted: str | None,
    remote: str | None,
    fetch: Callable[[], Any],
    metadata: dict[str, Any],
) -> Display | None:
    """Return what turns the remote render mode into the wanted one, or None.

    Raises:
        ChannelError: Nothing can; the message names both and the remedy.
    """
    error = mode_mismatch(backend_mode(wanted), remote)
    if error is not None:
        raise error
    if wanted is None or remote is None or wanted == remote:
        return None
    return Display(wanted, remote, fetch, metadata)


def mode_mismatch(wanted: str | None, remote: str | None) -> ChannelError | None:
    """Return the error that says that one mode cannot be had from another, or None.

    Args:
        wanted: By the algorithm, a ``_list`` left out.
        remote: How the environment renders.
    """
    if wanted is None or wanted == remote:
        return None
    if wanted == "human" and remote == "rgb_array":
        return None
    return ChannelError(
        f"render_mode={wanted!r} was asked for, but the environment at the other end "
        f"was made with render_mode={remote!r}. Serve it with --render-mode {wanted}, "
        "or from an id without a render mode"
    )


def makes_display(wanted: str | None) -> bool:
    """Return whether frames may have to be fetched at each step."""
    return wanted is not None and (wanted == "human" or wanted.endswith(LIST_SUFFIX))


def backend_mode(wanted: str | None) -> str | None:
    """Return the mode to ask the backend for, where it is free to choose."""
    return None if wanted is None else wanted.removesuffix(LIST_SUFFIX)
