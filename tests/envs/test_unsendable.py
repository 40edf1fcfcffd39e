"""Info that cannot travel: refused, or passed and marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rlay
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


def test_info_policy_that_does_not_exist_refused():
    """A misspelt policy is a ValueError of the constructor."""
    with pytest.raises(ValueError, match="on_unsendable_info='ignore'"):
        rlay.ServerBackend(bad_info, name="x", on_unsendable_info="ignore")  # type: ignore[arg-type]
