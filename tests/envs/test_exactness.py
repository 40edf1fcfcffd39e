"""Gymnasium's environments return through RLay the bits that they return in-process.

Every environment that Gymnasium registers is either run here or has a reason why it
cannot be, and that reason is tried. An environment that differs from its own second run
in this process is named in the output.
"""

from __future__ import annotations

import fractions
import functools
import importlib.util
import math
import re
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import rlay
from rlay.testing.environments import ScriptedEnv
from tests.support.equality import assert_identical, assert_same_space
from tests.support.pairs import PAIRS, backend_process
from tests.support.trajectories import difference, record, reference

# Old versions of environments say that they are old, Boxes that their bounds are wide.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

NEEDS = {"box2d": "Box2D", "mujoco": "mujoco", "phys2d": "jax", "tabular": "jax"}
"""What the environments of a family need beside Gymnasium."""

DIFFER_FROM_THEMSELVES: set[str] = set()
"""Environments whose second run in the same process differs from the first."""


def family_of(spec: gymnasium.envs.registration.EnvSpec) -> str:
    """Return the package of Gymnasium that an environment is in, such as mujoco."""
    place = str(spec.entry_point).removeprefix("gymnasium.envs.")
    return re.split(r"[.:]", place)[0]


def reason_not_to_run(spec: gymnasium.envs.registration.EnvSpec) -> str | None:
    """Return why an environment cannot be made here, or None."""
    family = family_of(spec)
    if spec.id.startswith("GymV"):
        return "wraps an environment of the old gym, which must be given"
    if callable(spec.entry_point) or (family == "mujoco" and spec.version in (2, 3)):
        return "needs mujoco-py, or has moved to gymnasium-robotics"
    needed = NEEDS.get(family)
    if needed is not None and importlib.util.find_spec(needed) is None:
        return f"needs {needed}, which is not installed"
    if spec.id == "Pusher-v4":
        return "its model is for mujoco < 3"
    return None


def is_gymnasiums_own(spec: gymnasium.envs.registration.EnvSpec) -> bool:
    """Return whether Gymnasium itself registered an environment."""
    entry = spec.entry_point
    return str(getattr(entry, "__module__", entry)).startswith("gymnasium.envs")


GYMNASIUMS_OWN = [
    spec for _, spec in sorted(gymnasium.registry.items()) if is_gymnasiums_own(spec)
]


def families() -> Iterator[tuple[str, list[str]]]:
    """Yield each family that can be run, with the ids of its environments."""
    found: dict[str, list[str]] = {}
    for spec in GYMNASIUMS_OWN:
        if reason_not_to_run(spec) is None:
            family = family_of(spec)
            if family == "mujoco":
                family += f"-v{spec.version}"
            found.setdefault(family, []).append(spec.id)
    yield from sorted(found.items())


FAMILIES = dict(families())


def test_every_environment_of_gymnasium_is_run_or_refuses_to_be_made(capsys):
    """What is not run here raises when it is made; what and why is printed."""
    with capsys.disabled():
        for spec in GYMNASIUMS_OWN:
            reason = reason_not_to_run(spec)
            if reason is not None:
                sys.stdout.write(f"\n  not run: {spec.id} ({reason})")
                with pytest.raises(Exception, match=r"."):
                    gymnasium.make(spec.id)
    run = {name for names in FAMILIES.values() for name in names}
    reasons = {spec.id for spec in GYMNASIUMS_OWN if reason_not_to_run(spec)}
    assert run | reasons == {spec.id for spec in GYMNASIUMS_OWN}
    assert {"classic_control", "toy_text"} <= set(FAMILIES)


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize("family", FAMILIES)
def test_trajectories_through_rlay_are_those_in_process(
    family, paradigm, children, capsys
):
    """Spaces and 1,000 seeded steps with resets are identical, types and bits."""
    differ, differ_from_themselves = {}, {}
    with backend_process(children) as process:
        for name in FAMILIES[family]:
            actions, expected, own_difference = reference(name)
            if own_difference is not None:
                differ_from_themselves[name] = own_difference
            with PAIRS[paradigm](process, name) as (local, remote):
                assert_same_space(remote.observation_space, local.observation_space)
                assert_same_space(remote.action_space, local.action_space)
                found = difference(record(remote, actions), expected)
            if found is not None:
                differ[name] = found
    names = ", ".join(sorted(differ_from_themselves)) or "none"
    with capsys.disabled():
        sys.stdout.write(
            f"\n  {paradigm}, {family}: {len(FAMILIES[family])} environments, "
            f"1,000 steps each; differ from their own second run: {names}"
        )
    assert differ == {}
    assert set(differ_from_themselves) <= DIFFER_FROM_THEMSELVES


USUAL_REWARDS: list[Any] = [
    *(0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), True, False),
    *(0.0, -0.0, 0.1, 5e-324, math.inf, -math.inf, math.nan),
    *(np.float64(0.1), np.float32(0.1), np.float16(0.1)),
    *(np.int64(7), np.int32(7), np.int8(-7), np.uint8(7), np.uint64(2**64 - 1)),
    *(np.bool_(True), np.bool_(False)),
    np.uint64(0x7FF8_0000_0000_0123).view(np.float64),
    np.uint32(0x7FC0_0123).view(np.float32),
]
UNUSUAL_REWARDS: list[Any] = [
    *(None, "1", b"1", 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 1j, np.complex64(1j)),
    *(np.array(0.5), np.array([0.5]), np.zeros(3, np.float32), np.array(1)),
    *([1.0, 2.0], (1.0, 2.0), {"a": 1.0}, np.longdouble(0.1), fractions.Fraction(1, 3)),
]
USUAL_FLAGS: list[Any] = [False, True, np.bool_(False), np.bool_(True)]
UNUSUAL_FLAGS: list[Any] = [0, 1, None, "", np.array(True), np.int64(1), 0.0, [], [0]]


def part_of_a_transition(place: int, values: list[Any]) -> ScriptedEnv:
    """Make an environment whose n-th step has the n-th value at ``place``."""

    def step(env, action):
        transition: list[Any] = [0, 0.0, False, False, {}]
        transition[place] = values[action]
        return tuple(transition)

    return ScriptedEnv(observation_space=spaces.Discrete(2), step_fn=step)


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize(
    ("place", "values"),
    [(1, USUAL_REWARDS), (2, USUAL_FLAGS), (3, USUAL_FLAGS)],
    ids=["reward", "terminated", "truncated"],
)
def test_rewards_and_flags_keep_their_type_and_bits(place, values, paradigm, children):
    """A bool, an int, a float or a numpy number arrives as exactly that."""
    target = functools.partial(part_of_a_transition, place, values)
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, target) as (local, remote),
    ):
        for index, value in enumerate(values):
            remote.reset()
            expected = local.step(index)
            assert_identical(remote.step(index), expected, f"{value!r}")


@pytest.mark.parametrize("paradigm", PAIRS)
@pytest.mark.parametrize(
    ("place", "values"),
    [(1, UNUSUAL_REWARDS), (2, UNUSUAL_FLAGS), (3, UNUSUAL_FLAGS)],
    ids=["reward", "terminated", "truncated"],
)
def test_unusual_rewards_and_flags_arrive_as_they_are_or_are_refused(
    place, values, paradigm, children
):
    """Nothing is turned into something else: it is identical, or an error says why."""
    target = functools.partial(part_of_a_transition, place, values)
    with (
        backend_process(children) as process,
        PAIRS[paradigm](process, target) as (local, remote),
    ):
        for index, value in enumerate(values):
            remote.reset()
            try:
                transition = remote.step(index)
            except rlay.RLayError:
                continue
            assert_identical(transition, local.step(index), f"{value!r}")
