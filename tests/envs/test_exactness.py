"""Gymnasium's environments return through RLay the bits that they return in-process.

Every environment that Gymnasium registers is either run here or has a reason why it
cannot be, and that reason is tried. An environment that differs from its own second run
in this process is named in the output.
"""

import importlib.util
import re
import sys
from collections.abc import Iterator

import gymnasium
import pytest

from tests.support.equality import assert_same_space
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
    if callable(spec.entry_point):  # a function that only raises
        return "moved to gymnasium-robotics"
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
