"""Row D13: nothing that a peer sends can become code."""

import ast
from pathlib import Path

import pytest

import rlay

MODULES = sorted(Path(rlay.__file__).parent.rglob("*.py"))
RUNNERS = {"eval", "exec", "compile", "__import__"}
LOADERS = {"load", "fromfile", "fromregex", "genfromtxt", "loadtxt"}


def calls(source):
    """Yield the calls in a program: what is called, and the call."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def what_runs_data(source):
    """Return the calls in a program that make code of data, or may."""
    found = []
    for name, call in calls(source):
        module, _, function = name.rpartition(".")
        if (
            name in RUNNERS
            or (module in ("np", "numpy") and function in LOADERS)
            or any(keyword.arg == "allow_pickle" for keyword in call.keywords)
        ):
            found.append(name)
    return found


def test_d13_package_runs_no_data():
    """No eval, no exec, and no loader of NumPy that unpickles."""
    found = {str(path): what_runs_data(path.read_text()) for path in MODULES}
    assert len(found) > 100
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    "source",
    ["eval(x)", "exec(x)", "np.load(x)", "numpy.load(x)", "f(x, allow_pickle=True)"],
)
def test_d13_that_would_be_seen(source):
    """The search finds what it looks for."""
    assert what_runs_data(source)
