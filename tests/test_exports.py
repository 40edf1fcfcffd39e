"""The public names, what importing them costs, and the ids in Gymnasium's registry."""

import importlib
import inspect
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rlay
import rlay.errors

ROOT = Path(__file__).resolve().parents[1]

# Written out again: the public names that are no exceptions, and where they live.
ENVIRONMENTS = {
    "ClientEnv": "rlay.envs.client_env",
    "ClientVectorEnv": "rlay.envs.client_vector_env",
    "ServerEnv": "rlay.envs.server_env",
    "ServerVectorEnv": "rlay.envs.server_vector_env",
    "ServerBackend": "rlay.envs.server_backend",
    "ClientBackend": "rlay.envs.client_backend",
    "Action": "rlay.envs.decisions",
    "Reset": "rlay.envs.decisions",
    "Close": "rlay.envs.decisions",
    "Launch": "rlay.processes.instances",
    "launch": "rlay.processes.launch",
    "spawn": "rlay.envs.spawn",
}
EXCEPTIONS = {
    name
    for name, value in vars(rlay.errors).items()
    if inspect.isclass(value) and issubclass(value, rlay.errors.RLayError)
}
IDS = ["rlay/ClientEnv-v0", "rlay/ServerEnv-v0"]


def run_fresh(code: str) -> object:
    """Run code in a new interpreter; the JSON value that it printed."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_all_is_the_exceptions_and_the_environments():
    """Nothing else is public, and nothing of these is missing."""
    assert set(rlay.__all__) == EXCEPTIONS | set(ENVIRONMENTS) | {"__version__"}
    assert len(rlay.__all__) == len(set(rlay.__all__))


@pytest.mark.parametrize("name", sorted(EXCEPTIONS))
def test_exception_is_the_one_of_errors(name):
    """An exception caught by its public name is the one that is raised."""
    assert getattr(rlay, name) is getattr(rlay.errors, name)


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_name_is_defined_where_the_table_says(name):
    """A public name resolves to the object of its own module, and stays the same."""
    value = getattr(rlay, name)
    module = importlib.import_module(ENVIRONMENTS[name])
    assert value is getattr(module, name)
    assert getattr(rlay, name) is value


def test_dir_lists_names_before_they_are_used():
    """Completion in an interactive session knows the public names."""
    listed = run_fresh("import json, rlay; print(json.dumps(dir(rlay)))")
    assert isinstance(listed, list)
    assert set(rlay.__all__) <= set(listed)


def test_unknown_name_raises_attribute_error():
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="'rlay' has no attribute 'CleintEnv'"):
        rlay.CleintEnv  # type: ignore[attr-defined]  # noqa: B018


def test_star_import_gives_the_public_names():
    """``from rlay import *`` resolves every name."""
    names = run_fresh(
        "import json\nfrom rlay import *\nprint(json.dumps(sorted(globals())))"
    )
    assert isinstance(names, list)
    assert set(rlay.__all__) <= set(names)


def test_version_is_that_of_the_project():
    """The installed package has the version of pyproject.toml, its one place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert rlay.__version__ == project["version"]


def test_package_is_typed():
    """Type checkers of users read the annotations."""
    assert (Path(rlay.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize(
    "statement", ["import rlay", "import rlay.errors", "import rlay; rlay.EnvLost"]
)
def test_import_loads_nothing_heavy(statement):
    """A process without environments, such as a bridge, stays without gymnasium."""
    loaded = run_fresh(
        f"import json, sys\n{statement}\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    assert isinstance(loaded, list)
    heavy = {"gymnasium", "numpy", "msgpack", "asyncio", "uvloop", "click", "rich"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize(
    "imports",
    ["import rlay, gymnasium", "import gymnasium, rlay", "import gymnasium.envs, rlay"],
)
def test_ids_are_registered_in_either_order_of_import(imports):
    """Both ids are in the registry as soon as both packages are imported, once each."""
    registered = run_fresh(
        f"import json\n{imports}\n"
        "print(json.dumps([n for n in gymnasium.registry if n.startswith('rlay/')]))"
    )
    assert registered == IDS


@pytest.mark.parametrize("id_", IDS)
def test_id_with_module_makes_rlays_class_without_importing_rlay(id_):
    """``gymnasium.make("rlay:...")`` imports rlay and calls the class of that name."""
    message = run_fresh(
        "import json, gymnasium\n"
        f"try:\n    gymnasium.make('rlay:{id_}', surely_unknown=1)\n"
        "except TypeError as error:\n    print(json.dumps(str(error)))"
    )
    assert isinstance(message, str)
    name = id_.removeprefix("rlay/").removesuffix("-v0")
    assert f"{name}.__init__() got an unexpected keyword" in message
    assert "surely_unknown" in message


def test_registering_loads_no_environment_class():
    """Registration is by string: the classes are imported when they are made."""
    loaded = run_fresh(
        "import json, sys, rlay, gymnasium\n"
        "print(json.dumps([n for n in sys.modules if n.startswith('rlay.envs.')]))"
    )
    assert loaded == ["rlay.envs.registration"]


def test_gymnasium_keeps_its_loader_and_the_import_hook_is_gone():
    """Watching for gymnasium leaves no trace in it or in the import system."""
    traces = run_fresh(
        "import json, sys\nbefore = list(sys.meta_path)\n"
        "import importlib.util, rlay\n"
        "importlib.util.find_spec('gymnasium')  # looking for it imports nothing\n"
        "import gymnasium\n"
        "loaders = [gymnasium.__loader__, gymnasium.__spec__.loader]\n"
        "print(json.dumps([[type(o).__name__ for o in loaders],"
        " sys.meta_path == before, 'rlay/ClientEnv-v0' in gymnasium.registry]))"
    )
    assert traces == [["SourceFileLoader", "SourceFileLoader"], True, True]


def test_import_without_gymnasium_installed_names_gymnasium():
    """Where gymnasium is missing, the error is the usual one and names it."""
    message = run_fresh(
        "import json, sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'gymnasium':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "import rlay\n"
        "try:\n    rlay.ClientEnv\n"
        "except ModuleNotFoundError as error:\n    print(json.dumps(error.name))"
    )
    assert message == "gymnasium"
