"""Gymnasium environments in another process, another language or another machine.

The public names are resolved when they are first used. ``import rlay`` by itself loads
neither gymnasium nor numpy, which the bridge process does without.

The ids ``rlay/ClientEnv-v0`` and ``rlay/ServerEnv-v0`` are registered as soon as both
rlay and gymnasium have been imported, in either order.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from rlay.envs.client_backend import ClientBackend
    from rlay.envs.client_env import ClientEnv
    from rlay.envs.client_vector_env import ClientVectorEnv
    from rlay.envs.decisions import Action, Close, Reset
    from rlay.envs.server_backend import ServerBackend
    from rlay.envs.server_env import ServerEnv
    from rlay.envs.server_vector_env import ServerVectorEnv
    from rlay.envs.spawn import spawn
    from rlay.errors import (
        AuthError,
        ChannelBusy,
        ChannelClosed,
        ChannelCorrupt,
        ChannelError,
        ChannelNoSpace,
        ChannelNotFound,
        ChannelPermission,
        CloseTimeout,
        ConnectTimeout,
        DecodeError,
        Draining,
        EnvLost,
        ForkedError,
        LaunchFailed,
        LinkDown,
        LocalProtocolError,
        MessageTooLarge,
        PeerLost,
        ProtocolError,
        RemoteEnvError,
        RemoteProtocolError,
        ResetTimeout,
        RLayError,
        RLayTimeout,
        SlowPeer,
        SpaceMismatch,
        StepTimeout,
        VersionMismatch,
    )
    from rlay.processes.instances import Launch
    from rlay.processes.launch import launch

    __version__: str

__all__ = [
    "Action",
    "AuthError",
    "ChannelBusy",
    "ChannelClosed",
    "ChannelCorrupt",
    "ChannelError",
    "ChannelNoSpace",
    "ChannelNotFound",
    "ChannelPermission",
    "ClientBackend",
    "ClientEnv",
    "ClientVectorEnv",
    "Close",
    "CloseTimeout",
    "ConnectTimeout",
    "DecodeError",
    "Draining",
    "EnvLost",
    "ForkedError",
    "Launch",
    "LaunchFailed",
    "LinkDown",
    "LocalProtocolError",
    "MessageTooLarge",
    "PeerLost",
    "ProtocolError",
    "RLayError",
    "RLayTimeout",
    "RemoteEnvError",
    "RemoteProtocolError",
    "Reset",
    "ResetTimeout",
    "ServerBackend",
    "ServerEnv",
    "ServerVectorEnv",
    "SlowPeer",
    "SpaceMismatch",
    "StepTimeout",
    "VersionMismatch",
    "__version__",
    "launch",
    "spawn",
]

# Where the names live. Every other name in __all__ is an exception of rlay.errors.
_MODULE_OF = {
    "Action": "rlay.envs.decisions",
    "ClientBackend": "rlay.envs.client_backend",
    "ClientEnv": "rlay.envs.client_env",
    "ClientVectorEnv": "rlay.envs.client_vector_env",
    "Close": "rlay.envs.decisions",
    "Launch": "rlay.processes.instances",
    "Reset": "rlay.envs.decisions",
    "ServerBackend": "rlay.envs.server_backend",
    "ServerEnv": "rlay.envs.server_env",
    "ServerVectorEnv": "rlay.envs.server_vector_env",
    "launch": "rlay.processes.launch",
    "spawn": "rlay.envs.spawn",
}


if not TYPE_CHECKING:  # type checkers see the imports above, and so find misspelt names

    def __getattr__(name: str) -> object:
        """Resolve a public name on its first use and keep it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name == "__version__":
            value = _installed_version()
        else:
            value = getattr(import_module(_MODULE_OF.get(name, "rlay.errors")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, resolved or not, beside what is loaded."""
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rlay")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0+unknown"


def _register_environments() -> None:
    from rlay.envs.registration import register_environments

    register_environments()


class _RegisteringLoader:
    """Load gymnasium with its own loader, then register RLay's environments.

    Neither class here inherits from its ABC: importlib.abc takes 30 ms to import.
    """

    def __init__(self, loader: "Loader") -> None:
        self._loader = loader

    def create_module(self, spec: "ModuleSpec") -> "ModuleType | None":
        return self._loader.create_module(spec)

    def exec_module(self, module: "ModuleType") -> None:
        # The module keeps its own loader: resources and source are found through it.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if _gymnasium_finder in sys.meta_path:
            sys.meta_path.remove(_gymnasium_finder)
        _register_environments()


class _GymnasiumFinder:
    """Notice the first import of gymnasium.

    Gymnasium 1.x knows no entry points, and its registry must be filled before
    ``gymnasium.make("rlay/ClientEnv-v0")``, also where rlay was imported first.
    """

    def find_spec(
        self,
        fullname: str,
        path: "Sequence[str] | None",
        target: "ModuleType | None" = None,
    ) -> "ModuleSpec | None":
        if fullname != "gymnasium":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    loader = _RegisteringLoader(spec.loader)
                    spec.loader = loader  # type: ignore[assignment]  # no ABC, above
                return spec
        return None


_gymnasium_finder = _GymnasiumFinder()

if "gymnasium" in sys.modules:
    _register_environments()
else:
    sys.meta_path.insert(0, _gymnasium_finder)
