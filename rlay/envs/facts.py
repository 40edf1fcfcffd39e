"""What an environment's end says of its environment."""

import dataclasses
import logging
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from rlay.envs.spaces import describe
from rlay.protocol.greeting import EnvironmentFacts
from rlay.protocol.values import Unsendable, encode_value

_log = logging.getLogger("rlay.envs.facts")

_SPEC_FIELDS = (
    "id",
    "reward_threshold",
    "nondeterministic",
    "max_episode_steps",
    "order_enforce",
    "kwargs",
)


def facts_of(
    env: Any, *, num_envs: int = 1, vector: bool = False, allow: Any = ()
) -> EnvironmentFacts:
    """Return the facts of an environment, or of a vector environment.

    Args:
        env: A ``gymnasium.Env``, or a ``gymnasium.vector.VectorEnv``.
        num_envs: Environments in one message.
        vector: Whether ``env`` is a vector environment.
        allow: Names that may be asked for.

    Raises:
        SpaceMismatch: A space cannot travel.
        AttributeError: A name in ``allow`` does not exist.
    """
    metadata = dict(env.metadata or {})
    autoreset = metadata.pop("autoreset_mode", None)
    observation_space = (
        env.single_observation_space if vector else env.observation_space
    )
    action_space = env.single_action_space if vector else env.action_space
    return EnvironmentFacts(
        describe(observation_space),
        describe(action_space),
        num_envs,
        sendable_part(metadata, "metadata"),
        env.render_mode,
        spec_record(env.spec),
        {name: is_method(env, name, vector=vector) for name in allow},
        getattr(autoreset, "value", None),
        vector,
    )


def sendable_part(values: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the items that can travel; what cannot is logged and left as text."""
    sendable = {}
    for key, value in values.items():
        try:
            encode_value({key: value})
            sendable[key] = value
        except Unsendable as error:
            _log.info("%s[%r] travels as text: %s", what, key, error)
            sendable[str(key)] = repr(value)[:1000]
    return sendable


def spec_record(spec: EnvSpec | None) -> dict[str, Any] | None:
    """Return the plain part of a spec."""
    if spec is None:
        return None
    fields = {name: getattr(spec, name, None) for name in _SPEC_FIELDS}
    fields["kwargs"] = sendable_part(dict(spec.kwargs or {}), "spec.kwargs")
    return sendable_part(fields, "spec")


def is_method(env: Any, name: str, *, vector: bool = False) -> bool:
    """Return whether an allowed name is a method.

    Raises:
        AttributeError: The environment has no such name.
    """
    if vector:
        envs = getattr(env, "envs", None)
        env = envs[0] if envs else env
    if not isinstance(env, gymnasium.Env):
        return callable(getattr(env, name))
    if not env.has_wrapper_attr(name):
        raise AttributeError(f"allow names {name!r}, which {env} does not have")
    return callable(env.get_wrapper_attr(name))


@dataclasses.dataclass(frozen=True, slots=True)
class RemoteSpec:
    """The spec of the environment at the other end, as a plain record.

    Attributes:
        id: Its id there, or None.
        reward_threshold: Of the remote spec.
        nondeterministic: Of the remote spec.
        max_episode_steps: Of the remote spec.
        order_enforce: Of the remote spec.
        kwargs: What it was made with; values that cannot travel are text.
    """

    id: str | None = None
    reward_threshold: float | None = None
    nondeterministic: bool = False
    max_episode_steps: int | None = None
    order_enforce: bool = True
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, record: dict[str, Any] | None) -> "RemoteSpec | None":
        """Return the record of a greeting, unknown keys left out."""
        if record is None:
            return None
        known = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: value for key, value in record.items() if key in known})
