"""Info that cannot travel: refused, or passed and marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rlay
from rlay.envs.unsendable import mended
from rlay.protocol.values import Unsendable, encode_value
from rlay.testing.environments import ScriptedEnv

pytestmark = pytest.mark.usefixtures("channel_directory")

BAD_INFO = {"good": 1, "bad": {1, 2}, "deep": [3, {"worse": object}]}


def bad_info() -> ScriptedEnv:
    def step(env: ScriptedEnv, action: Any) -> Any:
        info = dict(BAD_INFO) if action == 1 else {"good": 2}
        return np.zeros(2, np.float32), 0.0, False, False, info

    return ScriptedEnv(step_fn=step)


def test_info_that_cannot_travel_raises_with_its_path(remote):
    """By default: an error that names the path; the environment stays usable."""
    with remote(bad_info()) as env:
        env.reset()
        with pytest.raises(rlay.RemoteEnvError, match=r"set.*\$\.bad"):
            env.step(1)
        assert env.step(0)[4] == {"good": 2}


def test_info_that_cannot_travel_passed_as_text(remote):
    """on_unsendable_info="repr": text in its place, marked in info["rlay"]."""
    with remote(bad_info(), on_unsendable_info="repr") as env:
        env.reset()
        info = env.step(1)[4]
        assert info["good"] == 1
        assert info["bad"] == "{1, 2}"
        assert info["deep"] == [3, {"worse": "<class 'object'>"}]
        marks = info["rlay"]["unsendable"]
        assert set(marks) == {"$.bad", "$.deep[1].worse"}
        assert env.step(0)[4] == {"good": 2}


def test_info_that_cannot_travel_dropped(remote):
    """on_unsendable_info="drop": left out, marked in info["rlay"]."""
    with remote(bad_info(), on_unsendable_info="drop") as env:
        env.reset()
        info = env.step(1)[4]
        marks = info.pop("rlay")["unsendable"]
        assert info == {"good": 1, "deep": [3, {}]}
        assert set(marks) == {"$.bad", "$.deep[1].worse"}


def test_info_of_a_reset_is_mended_like_that_of_a_step(remote):
    """The policy holds for the first info of an episode as well."""
    target = ScriptedEnv(reset_fn=lambda *_: (np.zeros(2, np.float32), {"bad": {1}}))
    with remote(target, on_unsendable_info="repr") as env:
        info = env.reset()[1]
    assert info == {"bad": "{1}", "rlay": {"unsendable": {"$.bad": "set"}}}
    with remote(target) as env, pytest.raises(rlay.RemoteEnvError, match=r"\$\.bad"):
        env.reset()


def test_info_policy_does_not_mend_a_reward(remote):
    """Only an info may be passed as text: a reward that cannot travel is an error."""
    bad: Any = (np.zeros(2, np.float32), object(), False, False, {"bad": {1}})
    good: Any = (np.zeros(2, np.float32), 1.0, False, False, {})
    target = ScriptedEnv(step_fn=lambda env, action: bad if env.steps == 1 else good)
    with remote(target, on_unsendable_info="drop") as env:
        env.reset()
        with pytest.raises(rlay.RemoteEnvError, match="the reward cannot be sent"):
            env.step(0)
        assert env.step(0)[1] == 1.0


def test_info_policy_that_does_not_exist_refused():
    """A misspelt policy is a ValueError of the constructor."""
    with pytest.raises(ValueError, match="on_unsendable_info='ignore'"):
        rlay.ServerBackend(bad_info, name="x", on_unsendable_info="ignore")  # type: ignore[arg-type]


# --------------------------------------------------------------------- how it is mended

ODD = object()


def array_of(*items: Any) -> Any:
    array = np.empty(len(items), object)
    array[:] = items
    return array


@pytest.mark.parametrize(
    ("info", "repaired", "marks"),
    [
        ({"a": (1, {2}, 3)}, {"a": (1, "{2}", 3)}, {"$.a[1]": "set"}),
        ({"a": [ODD]}, {"a": [repr(ODD)]}, {"$.a[0]": "object"}),
        ({5: "x", "5": "y"}, {"5": "y"}, {"$.5": "int"}),
        ({(1, 2): 3}, {"(1, 2)": 3}, {"$.(1, 2)": "tuple"}),
        ({"\ud800": 1}, {"\\ud800": 1}, {"$.\\ud800": "str"}),
        ({"a": "\ud800"}, {"a": "'\\ud800'"}, {"$.a": "str"}),
        ({"rlay": 3, "b": {1}}, {"b": "{1}"}, {"$.b": "set"}),
    ],
)
def test_mended_by_text(info, repaired, marks):
    """Text stands where the odd part was; sound parts keep their place and type."""
    whole = mended(info, "repr")
    assert whole.pop("rlay") == {"unsendable": marks}
    assert whole == repaired
    encode_value(whole)


@pytest.mark.parametrize(
    ("info", "repaired"),
    [
        ({"a": (1, {2}, 3), "b": 1}, {"a": (1, None, 3), "b": 1}),
        ({"a": {"deep": ODD, "good": 1}}, {"a": {"good": 1}}),
        ({5: "x", "5": "y"}, {"5": "y"}),
        ({"\ud800": 1, "b": 2}, {"b": 2}),
    ],
)
def test_mended_by_leaving_out(info, repaired):
    """A dict's item is left out; in a list or tuple None keeps the others' places."""
    whole = mended(info, "drop")
    assert whole.pop("rlay")["unsendable"]
    assert whole == repaired
    encode_value(whole)


def test_mended_inside_an_object_array():
    """An object array keeps its shape; the odd element is text."""
    info = {"a": array_of(1, ODD, "x").reshape(3, 1)}
    whole = mended(info, "repr")
    assert whole["a"].tolist() == [[1], [repr(ODD)], ["x"]]
    assert whole["rlay"] == {"unsendable": {"$.a[1]": "object"}}


def test_mended_where_it_is_too_deep():
    """What lies below the greatest depth is the odd part; all above it stays."""
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    whole = mended({"deep": deep, "good": 1}, "drop")
    assert whole["good"] == 1
    assert len(whole["rlay"]["unsendable"]) == 1
    encode_value([[whole]])


class Unspeakable:
    """An object whose repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no words")


def test_mended_when_even_the_text_cannot_be_had():
    """A repr that raises is named; the info still travels."""
    whole = mended({"a": Unspeakable()}, "repr")
    assert "RuntimeError" in whole["a"]


def test_mended_info_that_is_sound_is_left_alone():
    """Without an odd part there is no mark, and the dict is the same object."""
    info = {"a": [1, {"b": 2}]}
    assert mended(info, "drop") is info


def test_mended_info_that_is_no_dict_refused():
    """Only a dict has a place for the mark."""
    with pytest.raises(Unsendable):
        mended([{1, 2}], "repr")
