"""What ``rlay bench`` is told: options that fit together."""

import math
import os
from dataclasses import dataclass
from typing import Any, Final

import click

from rlay.errors import ChannelError
from rlay.protocol.addresses import parse_address
from rlay.protocol.constants import DEFAULT_MAX_MESSAGE_BYTES

STDOUT: Final = "-"
_MOST_DIMENSIONS: Final = 16
_ALREADY_THERE: Final = ("address", "name")
_FOR_OUR_OWN: Final = ("env", "obs_shape", "obs_dtype", "bridges")


class Shape(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    """A shape, such as ``84x84x4``."""

    name = "shape"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the shape; fail with what is wrong with it."""
        if isinstance(value, tuple):
            return value
        words = str(value).lower().split("x")
        shape = tuple(int(word) for word in words if word.isascii() and word.isdigit())
        if len(shape) < len(words) or not all(shape):
            self.fail(f"{value!r} is no shape: numbers above 0, such as 84x84x4")
        if len(shape) > _MOST_DIMENSIONS:
            self.fail(f"{value!r} has more than {_MOST_DIMENSIONS} dimensions")
        return shape


class Address(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    """The address of a channel at a bridge."""

    name = "address"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the address; fail with what is wrong with it."""
        try:
            return str(parse_address(value))
        except ChannelError as error:
            self.fail(str(error))


class Output(click.ParamType):  # type: ignore[type-arg]  # older ones have none
    """A file that will be written, or ``-``.

    It is looked at before anything is measured, and written afterwards.
    """

    name = "file"

    def __init__(self, *, stdout: bool = False) -> None:
        """Say whether ``-`` may stand for stdout."""
        self._stdout = stdout

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Return the path; fail where no file can be written there."""
        path = str(value)
        if path == STDOUT and self._stdout:
            return path
        parent = os.path.dirname(path) or os.curdir
        if not os.path.isdir(parent):
            self.fail(f"{path!r}: there is no directory {parent!r}")
        if os.path.isdir(path):
            self.fail(f"{path!r} is a directory")
        if not os.access(path if os.path.exists(path) else parent, os.W_OK):
            self.fail(f"{path!r} may not be written")
        return path


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        env: A target to serve; None for RLay's own environment.
        obs_shape: Of the own environment; None for its default.
        obs_dtype: Of the own environment; None for its default.
        channels: How many to step at once.
        bridges: Whether to put two bridges between.
        address: Of an environment that runs already; None for none.
        name: Of a channel that is there already; None for none.
        seconds: How long to measure.
        warmup: How long to do the same before that, in seconds.
        rounds: How many turns everything has.
        directory: Where channels live; None for the default.
    """

    env: str | None
    obs_shape: tuple[int, ...] | None
    obs_dtype: str | None
    channels: int
    bridges: bool
    address: str | None
    name: str | None
    seconds: float
    warmup: float
    rounds: int
    directory: str | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> "Plan":
        """Return what the options of the command line say.

        Raises:
            click.UsageError: They do not fit together.
        """
        given = {name for name, value in options.items() if value not in (None, False)}
        _exclude(given, "address", "name")
        for there in _ALREADY_THERE:
            for ours in _FOR_OUR_OWN:
                _exclude(given, there, ours)
        _exclude(given, "env", "obs_shape")
        _exclude(given, "env", "obs_dtype")
        plan = cls(**options)
        size_bytes = plan.observation_bytes
        if size_bytes > DEFAULT_MAX_MESSAGE_BYTES:
            raise click.UsageError(
                f"an observation of {size_bytes:,} bytes cannot travel: a message has "
                f"{DEFAULT_MAX_MESSAGE_BYTES:,} at most"
            )
        return plan

    @property
    def observation_bytes(self) -> int:
        """Size of an observation of RLay's own environment; 0 where it has none."""
        if self.obs_shape is None:
            return 0
        import numpy as np

        return math.prod(self.obs_shape) * np.dtype(self.obs_dtype or "uint8").itemsize

    @property
    def served(self) -> dict[str, Any]:
        """Arguments of what is served, as ``rlay.testing.timed.timed`` takes them."""
        shape = None if self.obs_shape is None else list(self.obs_shape)
        named = {"target": self.env, "obs_shape": shape, "obs_dtype": self.obs_dtype}
        return {name: value for name, value in named.items() if value is not None}


_REASONS: Final = {
    ("address", "name"): "an address has the channel's name in it already",
    ("env", "obs_shape"): "an environment has its own observations",
    ("env", "obs_dtype"): "an environment has its own observations",
}
_RUNS_ALREADY: Final = "that environment runs already, as it is"


def _exclude(given: set[str], one: str, other: str) -> None:
    if one in given and other in given:
        words = " and ".join(f"--{name.replace('_', '-')}" for name in (one, other))
        reason = _REASONS.get((one, other), _RUNS_ALREADY)
        raise click.UsageError(f"{words} exclude each other: {reason}")
