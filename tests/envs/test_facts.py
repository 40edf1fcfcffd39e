"""What a greeting says of an environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
from gymnasium.vector import SyncVectorEnv

from rlay.envs.facts import RemoteSpec, facts_of, sendable_part, spec_record
from rlay.testing.environments import ScriptedEnv
from tests.support.vectors import Lane


def test_metadata_travels_and_what_cannot_becomes_text():
    """One odd value does not cost the others; it is left as its repr."""
    odd = object()
    metadata: dict[Any, Any] = {"render_modes": ["a"], "fps": 30, "odd": odd, 5: "x"}
    env = ScriptedEnv(metadata=metadata)
    facts = facts_of(env)
    assert facts.metadata == {
        "render_modes": ["a"],
        "fps": 30,
        "odd": repr(odd),
        "5": "'x'",
    }


def test_metadata_that_is_none_is_an_empty_one():
    """Some environments say None where they should say {}."""
    env = ScriptedEnv()
    env.metadata = None  # type: ignore[assignment]
    assert facts_of(env).metadata == {}


def test_vector_environment_says_its_number_and_mode():
    """The autoreset mode is a field of its own, not part of the metadata."""
    facts = facts_of(SyncVectorEnv([Lane] * 3), num_envs=3, vector=True)
    assert (facts.num_envs, facts.vector, facts.autoreset_mode) == (3, True, "NextStep")
    assert "autoreset_mode" not in facts.metadata


def test_allowed_names_are_attributes_or_methods():
    """The greeting says which is which, so that the other end knows without asking."""
    env = gymnasium.wrappers.TimeLimit(Lane(), 5)
    facts = facts_of(env, allow=["scale", "doubled"])
    assert facts.allow == {"scale": False, "doubled": True}
    facts = facts_of(SyncVectorEnv([Lane]), vector=True, allow=["scale", "doubled"])
    assert facts.allow == {"scale": False, "doubled": True}


def test_allowed_name_that_does_not_exist_is_an_error():
    """A misspelt name is found when the backend is made."""
    with pytest.raises(AttributeError, match="allow names 'scael'"):
        facts_of(Lane(), allow=["scael"])
    with pytest.raises(AttributeError, match="scael"):
        facts_of(SyncVectorEnv([Lane]), vector=True, allow=["scael"])


def test_spec_record_holds_plain_data_only():
    """Arguments that cannot travel are text; the rest of the spec is as it was."""
    function: Any = print
    spec = gymnasium.make("CartPole-v1").spec
    assert spec is not None
    spec.kwargs = {"length": 2.0, "callback": function}
    record = spec_record(spec)
    assert record is not None
    assert record["id"] == "CartPole-v1"
    assert record["kwargs"] == {"length": 2.0, "callback": repr(function)}
    assert spec_record(None) is None


def test_remote_spec_leaves_out_what_it_does_not_know():
    """A newer peer may say more; an older one less."""
    record = RemoteSpec.of({"id": "X-v1", "reward_threshold": 5.0, "colour": "red"})
    assert record == RemoteSpec(id="X-v1", reward_threshold=5.0)
    assert RemoteSpec.of(None) is None


def test_sendable_part_cuts_long_texts():
    """A repr of a million characters does not fill the greeting."""
    part = sendable_part({"set": set(range(100_000))}, "metadata")
    assert len(part["set"]) == 1000
