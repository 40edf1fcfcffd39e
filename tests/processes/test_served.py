"""The command line of an environment, and the interpreter that runs it."""

import math
import sys

import numpy as np
import pytest

from rlay.processes.served import ServeCommand, find_python, json_text


def test_words_are_a_command_of_this_interpreter():
    """Nothing is said that need not be."""
    words = ServeCommand("CartPole-v1", "/dir").words("cart")
    assert words == [
        sys.executable, "-m", "rlay", "serve", "CartPole-v1",
        "--name", "cart", "--directory", "/dir",
    ]  # fmt: skip


def test_words_carry_every_option():
    """In the form in which rlay serve takes them."""
    command = ServeCommand(
        "m:make", "/dir", {"a": 1}, 3, "rgb_array", ("x", "y"), ("--once",)
    )
    assert command.words("cart", "/py")[9:] == [
        "--kwargs", '{"a": 1}', "--num-envs", "3", "--render-mode", "rgb_array",
        "--allow", "x", "--allow", "y", "--once",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kwargs", "path"),
    [
        ({"a": (1, 2)}, r"kwargs\['a'\] is a tuple"),
        ({"a": [1, {"b": np.int64(3)}]}, r"kwargs\['a'\]\[1\]\['b'\] is a int64"),
        ({"a": {1: 2}}, r"kwargs\['a'\] has the key 1"),
        ({"a": len}, r"kwargs\['a'\] is a builtin_function"),
    ],
)
def test_kwargs_that_json_would_change_are_refused(kwargs, path):
    """With the place: nothing arrives as something else."""
    with pytest.raises(ValueError, match=path):
        json_text(kwargs)


def test_kwargs_of_json_values_read_back_as_they_were():
    """NaN and large numbers too."""
    import json

    kwargs = {"a": [1, 2.5, None, True, "x\u00e9"], "b": {"c": 10**30}, "d": math.inf}
    assert json.loads(json_text(kwargs)) == kwargs
    assert math.isnan(json.loads(json_text({"a": math.nan}))["a"])


def test_find_python_takes_a_name_on_the_path(tmp_path, monkeypatch):
    """As a shell would."""
    program = tmp_path / "some-python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python("some-python") == str(program)


def test_find_python_keeps_links(tmp_path):
    """A virtual environment's interpreter is a link, and must stay one."""
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert find_python(link) == str(link)


@pytest.mark.parametrize("python", ["/no/such/python", "no-such-python"])
def test_find_python_that_does_not_exist_says_so(python):
    """The message has what was asked for."""
    with pytest.raises(ValueError, match=f"python='{python}': there is no such"):
        find_python(python)


def test_find_python_that_cannot_be_executed_says_so(tmp_path):
    """A file is not enough."""
    (tmp_path / "python").write_text("")
    with pytest.raises(ValueError, match="cannot be executed"):
        find_python(tmp_path / "python")


def test_find_python_by_default_is_this_one():
    """None means here."""
    assert find_python(None) == sys.executable
