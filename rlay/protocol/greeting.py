"""The greeting: Hello from the client, Welcome or Refusal from the server.

Each is a message in a greeting slot. Its payload::

    0   8   magic "RLAYHELO"
    8   4   major version
    12  4   minor version
    16  .   msgpack map

Versions stand in front of the map, so that ends of different versions can read
that much of each other. Keys that an end does not know are ignored. Which end
says what of the environment depends on the paradigm: the end that holds it puts
``environment`` into its Hello or Welcome, the other its ``wishes``.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from rlay.errors import DecodeError
from rlay.protocol.agreement import Agreement
from rlay.protocol.constants import (
    DEFAULT_MAX_MESSAGE_BYTES,
    MAX_NUM_ENVS,
    UINT32_MASK,
    Capability,
    Paradigm,
)
from rlay.protocol.fields import Fields
from rlay.protocol.refusal import GREETING_HEAD, Refusal, greeting_map
from rlay.protocol.spaces import Description, pack_space, unpack_space
from rlay.protocol.values import decode_value, encode_value

__all__ = ["EnvironmentFacts", "Hello", "Refusal", "Welcome", "Wishes"]

_PARADIGMS: Final = frozenset(Paradigm)


@dataclass(frozen=True, slots=True)
class EnvironmentFacts:
    """What the environment's end says of the environment.

    Attributes:
        observation_space: Of one environment.
        action_space: Of one environment.
        num_envs: Environments in one message.
        metadata: The environment's own, plain data only.
        render_mode: As the environment was made, or None.
        spec: The remote spec as a plain record, or None.
        allow: Names of attributes and methods that may be asked for, with True
            for methods.
        autoreset_mode: Of a batch: NextStep, SameStep or Disabled; else None.
        vector: Whether a vector environment answers, also where ``num_envs`` is 1.
    """

    observation_space: Description
    action_space: Description
    num_envs: int = 1
    metadata: dict[str, Any] = field(default_factory=dict)
    render_mode: str | None = None
    spec: dict[str, Any] | None = None
    allow: dict[str, bool] = field(default_factory=dict)
    autoreset_mode: str | None = None
    vector: bool = False

    def agreement(self) -> Agreement:
        """Compile spaces and layouts."""
        return Agreement.compile(
            self.observation_space,
            self.action_space,
            self.num_envs,
            batched=self.vector,
        )

    def pack(self) -> dict[str, Any]:
        """Return the map as it travels, layouts included."""
        agreement = self.agreement()
        return {
            "observation_space": pack_space(self.observation_space),
            "action_space": pack_space(self.action_space),
            "num_envs": self.num_envs,
            "metadata": self.metadata,
            "render_mode": self.render_mode,
            "spec": self.spec,
            "allow": self.allow,
            "autoreset_mode": self.autoreset_mode,
            "vector": self.vector,
            "report_layout": agreement.report_layout.pack(),
            "decision_layout": agreement.decision_layout.pack(),
        }

    @classmethod
    def unpack(cls, data: Any) -> "EnvironmentFacts":
        """Return the facts that a map from a peer stands for.

        Raises:
            DecodeError: It is malformed, or its layouts are not those that follow
                from its spaces.
            MessageTooLarge: An observation or an action exceeds 1 GiB.
        """
        fields = Fields(data, "$.environment")
        facts = cls(
            unpack_space(fields.get("observation_space", list), "$.observation_space"),
            unpack_space(fields.get("action_space", list), "$.action_space"),
            fields.count("num_envs", MAX_NUM_ENVS, least=1),
            fields.get("metadata", dict),
            fields.optional("render_mode", str),
            fields.optional("spec", dict),
            fields.get("allow", dict),
            fields.autoreset_mode(),
            fields.get("vector", bool),
        )
        if any(type(is_method) is not bool for is_method in facts.allow.values()):
            raise DecodeError("expected bools", "$.environment.allow")
        if facts.num_envs > 1 and not facts.vector:
            raise DecodeError("several environments without a vector", "$.environment")
        agreement = facts.agreement()
        agreement.report_layout.check(data.get("report_layout"), "report")
        agreement.decision_layout.check(data.get("decision_layout"), "decision")
        return facts


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the algorithm's end asks of the environment's end.

    Attributes:
        render_mode: Wanted, or None for what there is.
        autoreset_mode: Wanted for a batch, or None.
        vector: Whether the algorithm takes batches; it takes single ones as well.
        num_envs: Wanted, or None for what there is.
        observation_space: Demanded, or None for what there is.
        action_space: Demanded, or None for what there is.
    """

    render_mode: str | None = None
    autoreset_mode: str | None = None
    vector: bool = False
    num_envs: int | None = None
    observation_space: Description | None = None
    action_space: Description | None = None

    def pack(self) -> dict[str, Any]:
        """Return the map as it travels."""
        spaces = (self.observation_space, self.action_space)
        observation, action = (s and pack_space(s) for s in spaces)
        return {
            "render_mode": self.render_mode,
            "autoreset_mode": self.autoreset_mode,
            "vector": self.vector,
            "num_envs": self.num_envs,
            "observation_space": observation,
            "action_space": action,
        }

    @classmethod
    def unpack(cls, data: Any) -> "Wishes":
        """Return the wishes that a map from a peer stands for.

        Raises:
            DecodeError: It is malformed.
        """
        fields = Fields(data, "$.wishes")
        return cls(
            fields.optional("render_mode", str),
            fields.autoreset_mode(),
            fields.get("vector", bool),
            fields.optional_count("num_envs", MAX_NUM_ENVS, least=1),
            fields.optional_space("observation_space"),
            fields.optional_space("action_space"),
        )


@dataclass(frozen=True, slots=True)
class Hello:
    """What the client says first.

    Attributes:
        paradigm: Which end it believes to hold the environment.
        environment: Where the client holds it.
        wishes: Where it does not.
        software: Name and version, for people.
        capabilities: What it can do.
        max_message_bytes: The most it takes.
    """

    paradigm: Paradigm
    environment: EnvironmentFacts | None = None
    wishes: Wishes | None = None
    software: str = ""
    capabilities: Capability = Capability.NONE
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES

    def encode(self) -> bytes:
        """Return the payload.

        Raises:
            Unsendable: Metadata, spec or a space cannot travel.
        """
        return _encode(
            {
                "paradigm": int(self.paradigm),
                "environment": self.environment and self.environment.pack(),
                "wishes": self.wishes and self.wishes.pack(),
                "software": self.software,
                "capabilities": int(self.capabilities),
                "max_message_bytes": self.max_message_bytes,
            }
        )

    @classmethod
    def decode(cls, payload: bytes | memoryview) -> "Hello":
        """Return the Hello in a payload.

        Raises:
            VersionMismatch: The peer speaks another major version.
            DecodeError: The payload is malformed.
        """
        fields = _decode(payload)
        environment = fields.optional("environment", dict)
        wishes = fields.optional("wishes", dict)
        number = fields.get("paradigm", int)
        if number not in _PARADIGMS:
            raise DecodeError(f"unknown paradigm {number}", "$.paradigm")
        return cls(
            Paradigm(number),
            None if environment is None else EnvironmentFacts.unpack(environment),
            None if wishes is None else Wishes.unpack(wishes),
            fields.get("software", str),
            Capability(fields.count("capabilities", UINT32_MASK)),
            fields.count("max_message_bytes"),
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the server answers where it takes the client.

    Attributes:
        generation: Of the slots to map.
        environment: Where the server holds it.
        wishes: Where it does not.
        software: Name and version, for people.
        capabilities: What it can do.
        max_message_bytes: The most that may be sent, both ways.
    """

    generation: int
    environment: EnvironmentFacts | None = None
    wishes: Wishes | None = None
    software: str = ""
    capabilities: Capability = Capability.NONE
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES

    def encode(self) -> bytes:
        """Return the payload.

        Raises:
            Unsendable: Metadata, spec or a space cannot travel.
        """
        return _encode(
            {
                "generation": self.generation,
                "environment": self.environment and self.environment.pack(),
                "wishes": self.wishes and self.wishes.pack(),
                "software": self.software,
                "capabilities": int(self.capabilities),
                "max_message_bytes": self.max_message_bytes,
            }
        )

    @classmethod
    def decode(cls, payload: bytes | memoryview) -> "Welcome":
        """Return the Welcome in a payload.

        Raises:
            VersionMismatch: The peer speaks another major version.
            DecodeError: The payload is malformed.
        """
        fields = _decode(payload)
        environment = fields.optional("environment", dict)
        wishes = fields.optional("wishes", dict)
        return cls(
            fields.count("generation", UINT32_MASK),
            None if environment is None else EnvironmentFacts.unpack(environment),
            None if wishes is None else Wishes.unpack(wishes),
            fields.get("software", str),
            Capability(fields.count("capabilities", UINT32_MASK)),
            fields.count("max_message_bytes"),
        )


def _encode(fields: dict[str, Any]) -> bytes:
    return GREETING_HEAD + encode_value(fields)


def _decode(payload: bytes | memoryview) -> Fields:
    return Fields(decode_value(greeting_map(payload)), "$")
