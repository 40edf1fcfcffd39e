"""The test program of RLay's own Python: an example, and what the driver is tried on.

Attaching is RLay's; what it plays is written here as any other client must write it.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import rlay
from clients.conformance import sequences
from clients.conformance.programs import REFUSED, UNSUPPORTED
from rlay.envs.spaces import build
from rlay.protocol.spaces import unpack_space
from rlay.protocol.values import decode_value

Case = dict[str, Any]


class Leave(Exception):
    """The script says to leave."""


class ScriptedEnv(gymnasium.Env[Any, Any]):
    """The environment of a case file."""

    def __init__(self, case: Case) -> None:
        """Take the script."""
        self.observation_space = build(unpack_space(case["observation_space"]))
        self.action_space = build(unpack_space(case["action_space"]))
        self.metadata = case.get("metadata", {})
        self._case = case
        self._resets = 0
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Play the next reset."""
        self._resets += 1
        self._steps = 0
        entry = _turn(self._case["resets"], self._resets)
        said = {"seed": None if seed is None else str(seed), "options": options}
        observation, _, _, _, info = self._play(entry, said)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Play the next step."""
        self._steps += 1
        return self._play(_turn(self._case["steps"], self._steps), {"action": action})

    def _play(self, entry: Case, said: Case) -> tuple[Any, Any, bool, bool, Case]:
        time.sleep(entry.get("wait_ms", 0) / 1000)
        if entry.get("leave"):
            raise Leave
        if "raise" in entry:
            raise RuntimeError(entry["raise"])
        known = {**said, "step": self._steps, "resets": self._resets}
        info = dict(entry.get("info", {}))
        info.update({name: known[name] for name in entry.get("echo", ())})
        boxed = entry.get("observation")
        return (
            said["action"] if boxed is None else boxed[0],
            entry.get("reward", 0.0),
            entry.get("terminated", False),
            entry.get("truncated", False),
            info,
        )


def _turn(entries: list[Case], number: int) -> Case:
    return entries[(number - 1) % len(entries)]


def serve(case: Case) -> None:
    """Answer a ``ClientEnv``."""
    env = _Leaving(case)
    backend = rlay.ServerBackend(env)
    env.on_leave = backend.close
    with backend:
        backend.run(sessions=case.get("sessions", 1))


class _Leaving(ScriptedEnv):
    """Its backend is closed from within, as a simulator's window is."""

    on_leave: Callable[[], None]

    def _play(self, entry: Case, said: Case) -> tuple[Any, Any, bool, bool, Case]:
        try:
            return super()._play(entry, said)
        except Leave:
            self.on_leave()
            sys.exit(0)


def play(case: Case) -> None:
    """Ask a ``ServerEnv`` for decisions."""
    env = ScriptedEnv(case)
    polling = case.get("loop") == "polling"
    with rlay.ClientBackend(
        observation_space=env.observation_space,
        action_space=env.action_space,
        metadata=env.metadata,
    ) as backend:

        def decide(*said: Any, **more: Any) -> Any:
            if not polling:
                return backend.decide(*said, **more)
            backend.report(*said, **more)
            while (decision := backend.poll()) is None:
                time.sleep(0)
            return decision

        ended = 0
        decision = decide()
        while True:
            match decision:
                case rlay.Reset(seed=seed, options=options):
                    observation, info = env.reset(seed=seed, options=options)
                    decision = decide(observation, info=info)
                case rlay.Action(action=action):
                    decision = decide(*env.step(action))
                case _:
                    ended += 1
                    if ended == case.get("sessions", 1):
                        return
                    decision = decide()


def main(arguments: list[str]) -> int:
    """Run as ``clients/README.md`` says; return the exit code."""
    role, path = arguments
    case: Case = decode_value(Path(path).read_bytes())
    np.seterr(all="raise")
    sequences.start_at(case.get("first_sequence", 1))
    try:
        {"environment": serve, "game": play}[role](case)
    except Leave:
        return 0
    except KeyError:
        sys.stderr.write(f"there is no role {role!r}\n")
        return UNSUPPORTED
    except rlay.RLayError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
