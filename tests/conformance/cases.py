"""What the vectors are about: the inputs of each, by file.

``make_vectors.py`` adds the bytes. A case's name never changes: the specification
and clients in other languages refer to it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlay.protocol import spaces
from rlay.protocol.constants import Capability, CloseReason, ErrorCode, Paradigm
from rlay.protocol.decisions import Operation
from rlay.protocol.greeting import EnvironmentFacts, Hello, Refusal, Welcome, Wishes
from rlay.protocol.numbers import DTYPES
from rlay.protocol.values import GraphValue
from rlay.testing.info_strategies import object_array

INCARNATION = 0x1122334455667788
SESSION = 0x99AABBCCDDEEFF00


def _bits(dtype: Any, bits: int) -> Any:
    unsigned: Any = {2: np.uint16, 4: np.uint32, 8: np.uint64}[np.dtype(dtype).itemsize]
    return unsigned(bits).view(dtype)


# --- values ---------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "nil": None,
    "true": True,
    "false": False,
    "zero": 0,
    "small negative": -1,
    "least integer": -(2**63),
    "greatest integer": 2**64 - 1,
    "beyond the exact integers of a float": 2**53 + 1,
    "float": 1.5,
    "negative zero": -0.0,
    "infinity": float("inf"),
    "quiet NaN with a payload": float(_bits(np.float64, 0x7FF8_0000_0000_0001)),
    "signalling NaN": float(_bits(np.float64, 0x7FF4_0000_0000_1234)),
    "least subnormal": 5e-324,
    "str": "héllo \U0001f3ae",
    "empty str": "",
    "bytes": b"\x00\xff",
    "list": [1, "a", None],
    "empty list": [],
    "tuple": (1, (2,), []),
    "empty tuple": (),
    "map in its order": {"b": 1, "a": {"c": []}},
    "bool scalar": np.bool_(True),
    "int8 scalar": np.int8(-2),
    "uint8 scalar": np.uint8(255),
    "int16 scalar": np.int16(-2),
    "uint16 scalar": np.uint16(258),
    "int32 scalar": np.int32(-2),
    "uint32 scalar": np.uint32(2**32 - 1),
    "int64 scalar": np.int64(-2),
    "uint64 scalar": np.uint64(2**63 + 1),
    "float16 scalar": np.float16(1.5),
    "float32 scalar": np.float32(1.5),
    "float32 signalling NaN": _bits(np.float32, 0x7FA0_1234),
    "float64 scalar": np.float64(1.5),
    "complex64 scalar": np.complex64(1 + 2j),
    "complex128 scalar": np.complex128(1 + 2j),
    "array of bool": np.array([True, False, True]),
    "array of float32": np.array([[1, 2], [3, 4]], np.float32),
    "array of no dimensions": np.array(5, np.int16),
    "empty array": np.zeros((2, 0, 3), np.uint8),
    "object array": object_array([None, (1,), np.float32(1)]),
    "graph": GraphValue(
        (np.ones((2, 1), np.float32), None, np.array([[0, 1]], np.int32))
    ),
    "nested": {"a": [(1, {"b": np.uint8(3)}), [None, b"x"]]},
}

BIG_INTS: dict[str, int] = {
    "2**64": 2**64,
    "below 64 bits": -(2**63) - 1,
    "128 bits": 2**127 + 12345,
}


def _nested_tuples(levels: int) -> str:
    """Return tuples within each other, in hex."""
    data = b"\x90"
    for _ in range(levels):
        size = len(data)
        data = b"\x91\xc8" + size.to_bytes(2, "big") + b"\x01" + data
    return data.hex()


BAD_VALUES: dict[str, tuple[str, str]] = {
    "nothing": ("", "an empty payload is no value"),
    "left over": ("c0c0", "there is more than one value"),
    "cut off": ("9201", "an array of two with one item"),
    "no UTF-8": ("a2ffff", "a str is UTF-8"),
    "surrogate": ("a3eda080", "a str holds no surrogates"),
    "integer as key": ("810102", "keys are str"),
    "bytes as key": ("81c4016102", "keys are str"),
    "key twice": ("82a16101a16102", "a key occurs once"),
    "timestamp": ("d6ff00000001", "msgpack's timestamp is no value"),
    "unknown extension": ("d46300", "extension type 99"),
    "big integer in an info": ("d5060001", "BIG_INT is for a RESET"),
    "bool of two": ("d5030102", "a bool is 0 or 1"),
    "unknown dtype code": ("d6030f000000", "dtype code 15"),
    "scalar too short": ("d5030b00", "a float32 has four bytes"),
    "array with bytes missing": (
        "c70e020b01" + "0200000000000000" + "00000000",
        "two float32 take eight bytes",
    ),
    "array of 2**64 elements": (
        "c712020b02" + "0000000001000000" * 2,
        "the product of the sizes must not wrap",
    ),
    "array of bools beyond one": (
        "c70c020101" + "0200000000000000" + "0102",
        "a bool is 0 or 1",
    ),
    "object array without items": ("c702049191" + "02", "the shape says two"),
    "33 levels": ("91" * 32 + "90", "nesting of 32 levels is the limit"),
    "33 levels of tuples": (_nested_tuples(33), "extension types count as levels"),
}
"""Bytes that a reader must refuse, and why."""


# --- spaces ---------------------------------------------------------------------------


def box(
    shape: tuple[int, ...], code: int, low: Any, high: Any, bounded: Any = True
) -> spaces.Box:
    """Return a box of a dtype code with uniform or given bounds."""
    dtype = DTYPES[code]
    return spaces.Box(
        code,
        shape,
        np.broadcast_to(np.asarray(low, dtype), shape).copy(),
        np.broadcast_to(np.asarray(high, dtype), shape).copy(),
        np.broadcast_to(np.asarray(bounded), shape).copy(),
        np.broadcast_to(np.asarray(bounded), shape).copy(),
    )


CARTPOLE = box(
    (4,),
    11,
    [-4.8, -np.inf, -0.41887903, -np.inf],
    [4.8, np.inf, 0.41887903, np.inf],
    [True, False, True, False],
)
TWO = spaces.Discrete(8, 2, 0)
TEXT = spaces.Text(0, 8, "abc")
IMAGE = box((84, 84, 4), 3, 0, 255)
PAIR = box((2,), 11, -1, 1)
NESTED = spaces.Dict(
    (
        ("image", box((10, 7), 3, 0, 255)),
        ("words", TEXT),
        ("pose", spaces.Tuple((box((3,), 11, -1, 1), spaces.Discrete(8, 5, -2)))),
        ("keys", spaces.MultiBinary((5,), flat=True)),
    ),
    sort_keys=False,
)
SPACES: dict[str, Any] = {
    "box": CARTPOLE,
    "box with uniform bounds": IMAGE,
    "box of no dimensions": box((), 12, 0, 1),
    "box of one element": box((1,), 12, 0, 1),
    "empty box": box((0, 3), 11, 0, 1),
    "box of bool": box((3,), 1, False, True),
    "unbounded box of integers": box((2,), 6, -(2**31), 2**31 - 1, bounded=False),
    "discrete": TWO,
    "discrete with start and dtype": spaces.Discrete(6, 5, -2),
    "multi_binary of an int": spaces.MultiBinary((3,), flat=True),
    "multi_binary of a shape": spaces.MultiBinary((3, 2), flat=False),
    "multi_discrete": spaces.MultiDiscrete(
        8, (3,), np.array([2, 3, 4]), np.array([0, 0, 1])
    ),
    "text": TEXT,
    "dict": NESTED,
    "tuple": spaces.Tuple((TWO, PAIR)),
    "empty tuple": spaces.Tuple(()),
    "sequence": spaces.Sequence(PAIR, stack=False),
    "stacked sequence": spaces.Sequence(TWO, stack=True),
    "graph": spaces.Graph(PAIR, TWO),
    "graph without edges": spaces.Graph(PAIR, None),
    "one_of": spaces.OneOf((TWO, PAIR)),
    "opaque": spaces.Opaque("mygame.Level", "Level(3)"),
}


# --- messages -------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """A message, and the session in which it is said.

    Attributes:
        kind: In lower case, as the writers' and readers' functions are called.
        says: What it says, in the order of the writer's arguments, by name.
        space: The action space of a decision, the observation space of a report.
        num_envs: Environments in one message.
        batched: Whether messages carry batches.
        before: How often the same was said before: the second info of the same keys
            is a record.
        sequence: In its header.
    """

    kind: str
    says: dict[str, Any]
    space: Any = PAIR
    num_envs: int = 1
    batched: bool = False
    before: int = 0
    sequence: int = 7


def _step(action: Any, space: Any = TWO, **session: Any) -> Message:
    says = {"action": action}
    if session.get("batched"):
        says["reset_mask"] = session.pop("mask", None)
    return Message("step", says, space, **session)


def _reset(seed: Any, options: Any, mask: Any = None, **session: Any) -> Message:
    says = {"seed": seed, "options": options, "mask": mask}
    return Message("reset", says, TWO, **session)


MASK = np.array([False, True])
MIXED_ACTION = spaces.Tuple((TWO, TEXT, PAIR))
OBSERVATION = np.array([1.5, -2], np.float32)

DECISIONS: dict[str, Message] = {
    "reset": _reset(None, None),
    "reset with seed and options": _reset(42, {"difficulty": 0.5}),
    "reset with a seed of 65 bits": _reset(2**64 + 1, {}),
    "reset of some of a batch": _reset(
        [1, None], {"a": 1}, MASK, num_envs=2, batched=True
    ),
    "step in the fixed area, int64": _step(np.int64(1)),
    "step in the fixed area, int": _step(1),
    "step in the fixed area, array": _step(OBSERVATION, PAIR),
    "step as a value": _step(1.0),
    "step of another shape": _step(np.zeros((1, 2), np.float32), PAIR),
    "step with variable parts": _step((1, "ab", OBSERVATION), MIXED_ACTION),
    "step of a batch": _step(np.array([1, 0]), num_envs=2, batched=True),
    "step of a batch with a reset mask": _step(
        np.array([1, 0]), num_envs=2, batched=True, mask=MASK
    ),
    "step of a batch as a value": _step([1, 0], num_envs=2, batched=True, mask=MASK),
    "step of a batch with variable parts": _step(
        (np.array([1, 0]), ("a", "b"), np.zeros((2, 2), np.float32)),
        MIXED_ACTION,
        num_envs=2,
        batched=True,
        mask=MASK,
    ),
    "call of a method": Message(
        "call",
        {
            "operation": Operation.CALL,
            "name": "teleport",
            "args": [1.5, "home"],
            "kwargs": {"fast": True},
        },
        TWO,
    ),
    "get of an attribute": Message(
        "call", {"operation": Operation.GET, "name": "level", "args": [], "kwargs": {}}
    ),
    "set of an attribute": Message(
        "call", {"operation": Operation.SET, "name": "level", "args": [3], "kwargs": {}}
    ),
    "render": Message(
        "call", {"operation": Operation.RENDER, "name": "", "args": [], "kwargs": {}}
    ),
    "close": Message("close", {"reason": CloseReason.CLOSED}),
    "sequence after a wrap": _step(1, sequence=1),
    "sequence before a wrap": _step(1, sequence=0xFFFF_FFFF),
}


EMPTY: dict[str, Any] = {}


def _transition(
    observation: Any,
    reward: Any = 1.0,
    terminated: Any = False,
    truncated: Any = False,
    info: Any = EMPTY,
    **session: Any,
) -> Message:
    says = {
        "observation": observation,
        "reward": reward,
        "terminated": terminated,
        "truncated": truncated,
        "info": info,
    }
    return Message("transition", says, **session)


def _first(observation: Any, info: Any, **session: Any) -> Message:
    return Message(
        "reset_result", {"observation": observation, "info": info}, **session
    )


IN_BATCH: Any = {"num_envs": 2, "batched": True}
FLAGS = np.array([True, False])
BATCH = np.array([[1, 2], [3, 4]], np.float32)
NESTED_ELEMENT = {
    "image": np.arange(70, dtype=np.uint8).reshape(10, 7),
    "words": "cab",
    "pose": (np.array([0.5, 0, -0.5], np.float32), np.int64(-2)),
    "keys": np.array([1, 0, 0, 1, 1], np.int8),
}
RECORD = {
    "steps": 3,
    "score": 0.5,
    "alive": True,
    "lives": np.int8(-1),
    "speed": np.float32(2.5),
    "won": np.bool_(False),
    "ticks": np.uint64(2**63),
}

REPORTS: dict[str, Message] = {
    "ready": Message("ready", {}),
    "reset_result": _first(OBSERVATION, {}),
    "reset_result with an info": _first(OBSERVATION, {"level": 1}),
    "reset_result as a value": _first([1.5, -2.0], {}),
    "transition": _transition(OBSERVATION),
    "transition that terminates": _transition(OBSERVATION, terminated=True),
    "transition that is truncated": _transition(OBSERVATION, truncated=True),
    "transition with NumPy's flags": _transition(
        OBSERVATION, np.float64(0.5), np.bool_(True), np.bool_(False)
    ),
    "transition with a reward of int": _transition(OBSERVATION, -1),
    "transition with a reward of float32": _transition(OBSERVATION, np.float32(0.1)),
    "transition with a reward of NaN": _transition(
        OBSERVATION, float(_bits(np.float64, 0x7FF8_0000_0000_0001))
    ),
    "transition with a reward as a value": _transition(OBSERVATION, None),
    "transition with flags as values": _transition(OBSERVATION, 1.0, 1, None),
    "transition as a value": _transition("lost", 1.0),
    "transition of a discrete space": _transition(np.int64(1), space=TWO),
    "transition with an info": _transition(
        OBSERVATION, info={"position": np.array([1.0, 2.0]), "log": ["a", None]}
    ),
    "transition with an info that is nil": _transition(OBSERVATION, info=None),
    "transition with the first info of its keys": _transition(OBSERVATION, info=RECORD),
    "transition with a record": _transition(
        OBSERVATION, terminated=True, info=RECORD, before=1
    ),
    "transition with variable parts": _transition(
        NESTED_ELEMENT, space=NESTED, info={"a": 1}
    ),
    "transition of a batch": _transition(
        BATCH, np.array([0.5, -1]), FLAGS, ~FLAGS, **IN_BATCH
    ),
    "transition of a batch with infos": _transition(
        BATCH, np.array([0.5, -1]), FLAGS, ~FLAGS, [{"a": 1}, {}], **IN_BATCH
    ),
    "transition of a batch with other rewards": _transition(
        BATCH, np.array([0.5, -1], np.float32), FLAGS, ~FLAGS, **IN_BATCH
    ),
    "transition of a batch as values": _transition(
        [1, 2], [0.5, -1], FLAGS, ~FLAGS, **IN_BATCH
    ),
    "reset_result of a batch": _first(BATCH, [{}, {"a": 1}], **IN_BATCH),
    "call_result": Message("call_result", {"value": {"frame": IMAGE.low[:1, :2]}}),
    "call_result of nothing": Message("call_result", {"value": None}),
    "failure": Message(
        "failure",
        {
            "code": ErrorCode.ENVIRONMENT,
            "type": "ValueError",
            "message": "bad action 3",
            "traceback": "Traceback (most recent call last): ...",
        },
    ),
    "failure of a space": Message(
        "failure",
        {
            "code": ErrorCode.SPACE_MISMATCH,
            "type": "SpaceMismatch",
            "message": "expected float32 (2,), got float64 (2,), at $",
            "traceback": "",
        },
    ),
}

# --- greetings ------------------------------------------------------------------------

FACTS = EnvironmentFacts(
    CARTPOLE,
    TWO,
    metadata={"render_modes": ["rgb_array"], "render_fps": 50},
    render_mode="rgb_array",
    spec={"id": "CartPole-v1", "max_episode_steps": 500},
    allow={"state": False, "teleport": True},
)
GREETINGS: dict[str, Hello | Welcome | Refusal] = {
    "hello of an algorithm": Hello(
        Paradigm.CLIENT_ENV,
        wishes=Wishes(render_mode="rgb_array"),
        software="example 1.0",
        capabilities=Capability.FUTEX | Capability.RECORDS,
    ),
    "hello of an algorithm with demands": Hello(
        Paradigm.CLIENT_ENV,
        wishes=Wishes(
            autoreset_mode="SameStep",
            vector=True,
            num_envs=8,
            observation_space=CARTPOLE,
            action_space=TWO,
        ),
        software="example 1.0",
    ),
    "hello of a game": Hello(
        Paradigm.SERVER_ENV,
        environment=FACTS,
        software="example 1.0",
        max_message_bytes=2**20,
    ),
    "welcome of a backend": Welcome(
        1,
        FACTS,
        software="example 1.0",
        capabilities=Capability.FUTEX | Capability.FIFO | Capability.RECORDS,
    ),
    "welcome of a backend with a batch": Welcome(
        2, EnvironmentFacts(NESTED, TWO, 3, autoreset_mode="NextStep", vector=True)
    ),
    "welcome of a trainer": Welcome(
        1, wishes=Wishes(), software="example 1.0", max_message_bytes=2**20
    ),
    "refusal": Refusal(ErrorCode.NUM_ENVS, "channel 'cartpole' carries 8 environments"),
    "refusal for good": Refusal(
        ErrorCode.ENVIRONMENT_GONE, "crashed 11 times within 10 minutes"
    ),
    "refusal after an exception": Refusal(
        ErrorCode.ENVIRONMENT, "no such level", "ValueError", "Traceback: ..."
    ),
}


# --- parts ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Parted:
    """A message that exceeds its slot.

    Attributes:
        message: What is said.
        capacity: Room for a payload in the slot, in bytes.
    """

    message: Message
    capacity: int


PARTS: dict[str, Parted] = {
    "value in two parts": Parted(Message("call_result", {"value": b"x" * 100}), 64),
    "exactly two parts": Parted(
        Message("call_result", {"value": b"y" * 125}, sequence=8), 64
    ),
    "fixed area and tail in three parts": Parted(
        _transition(
            NESTED_ELEMENT,
            np.float32(2),
            terminated=True,
            info={"log": "z" * 100},
            space=NESTED,
        ),
        128,
    ),
}


# --- slots ----------------------------------------------------------------------------


@dataclass(frozen=True)
class SlotState:
    """A moment in the life of a channel.

    Attributes:
        description: What has happened.
        events: What was done, one after the other; see ``make_vectors.py``.
    """

    description: str
    events: list[str] = field(default_factory=list)


_NEW = ["create", "announce server"]
_ATTACHED = [*_NEW, "announce client", "make slots", "begin session"]
SLOTS: dict[str, SlotState] = {
    "new channel": SlotState("the server has made the channel; nobody came yet", _NEW),
    "hello published": SlotState(
        "the client has said Hello in its greeting slot",
        [*_NEW, "announce client", "publish hello"],
    ),
    "attached": SlotState(
        "the greeting is over, both ends have stamped their buffers", _ATTACHED
    ),
    "request published": SlotState(
        "the first request, sequence 1, is in buffer 1; the server still sleeps",
        [*_ATTACHED, "sleep server", "publish request"],
    ),
    "request taken": SlotState(
        "the server has taken it and runs it",
        [*_ATTACHED, "publish request", "take request"],
    ),
    "reply published": SlotState(
        "its reply, the same sequence, is in buffer 1 of the other slot",
        [*_ATTACHED, "publish request", "take request", "publish reply"],
    ),
    "second request published": SlotState(
        "sequence 2 is in buffer 0; the first is still in buffer 1",
        [
            *_ATTACHED,
            "publish request",
            "take request",
            "publish reply",
            "take reply",
            "publish second request",
        ],
    ),
    "closed": SlotState("the client has said goodbye", [*_ATTACHED, "close client"]),
    "lost": SlotState(
        "a bridge that holds the client's end says that the far client is lost",
        [*_ATTACHED, "bridge loses client"],
    ),
}
