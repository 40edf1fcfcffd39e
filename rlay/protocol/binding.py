"""Layouts bound to memory: closures that move one value in or out.

A binding is compiled once per buffer and knows its memory, dtypes and shapes, so
that a step does one comparison and one copy per array and nothing else.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from rlay.errors import DecodeError
from rlay.protocol import spaces
from rlay.protocol.layout import NUMBER_CELL, Layout, Leaf
from rlay.protocol.numbers import (
    BOOL,
    DTYPES,
    INT,
    SCALAR_CODES,
    is_bool,
    make_number_load,
    make_number_store,
)
from rlay.protocol.spaces import Description

Store = Callable[[Any], None]
Load = Callable[[], Any]

_MEMORY_FORMATS: Final = frozenset("bBhHiIlLqQfd")
_INTEGER_CODES: Final = frozenset(
    {
        INT,
        BOOL,
        *(code for kind, code in SCALAR_CODES.items() if kind(0).dtype.kind in "iub"),
    }
)


class Misfit(Exception):
    """A value is not exactly of the type, dtype and shape of its leaf.

    It is no error yet: the value may travel in the tail instead.
    """


class Binding:
    """One layout over one buffer's payload.

    Attributes:
        store: Writes an element into the fixed area and appends its variable
            parts to ``variable``. Raises Misfit; the area then holds nothing of
            use.
        load: Returns the element in the fixed area, taking variable parts from
            ``variable``.
        variable: The variable parts, in order.
        extra: Views of the arrays that follow a batch, by name.
    """

    __slots__ = ("extra", "load", "store", "variable")

    store: Store
    load: Load

    def __init__(
        self,
        space: Description,
        layout: Layout,
        payload: memoryview,
        *,
        batched: bool,
        copy: bool = True,
    ) -> None:
        """Compile the closures.

        Args:
            space: The space of one environment.
            layout: Compiled from it.
            payload: The buffer's payload. Stores need it writable.
            batched: Whether leaves have ``num_envs`` in front.
            copy: Whether ``load`` returns copies, or read-only views.

        Raises:
            DecodeError: The payload is shorter than the fixed area.
        """
        if len(payload) < layout.fixed_bytes:
            raise DecodeError(
                f"a payload of {len(payload)} bytes lacks its fixed area of "
                f"{layout.fixed_bytes}"
            )
        self.variable: deque[Any] = deque()
        compiler = _Compiler(iter(layout.leaves), payload, self.variable, batched, copy)
        self.store, self.load = compiler.compile(space)
        self.extra = {leaf.path: compiler.view(leaf) for leaf in compiler.leaves}


class _Compiler:
    def __init__(
        self,
        leaves: Iterator[Leaf],
        payload: memoryview,
        variable: deque[Any],
        batched: bool,
        copy: bool,
    ) -> None:
        self.leaves = leaves
        self.payload = payload
        self.variable = variable
        self.batched = batched
        self.copy = copy

    def view(self, leaf: Leaf) -> Any:
        return np.ndarray(
            leaf.shape, DTYPES[leaf.dtype], buffer=self.payload, offset=leaf.offset
        )

    def compile(self, space: Description) -> tuple[Store, Load]:
        match space:
            case spaces.Dict():
                keys = [key for key, _ in space.entries]
                return _dict(keys, [self.compile(item) for _, item in space.entries])
            case spaces.Tuple():
                return _tuple([self.compile(item) for item in space.items])
            case (
                spaces.Box()
                | spaces.Discrete()
                | spaces.MultiBinary()
                | spaces.MultiDiscrete()
            ):
                leaf = next(self.leaves)
                if leaf.dtype == NUMBER_CELL:
                    cell = self.payload[leaf.offset : leaf.offset + 16]
                    return _number(cell, leaf.path)
                return bind_array(self.view(leaf), leaf.path, copy=self.copy)
            case _:
                return self.variable.append, self.variable.popleft


def _vector_store(view: Any) -> Store | None:
    """Return a faster store for one dimension, or None where there is none.

    A memoryview compares format and length by itself and copies in a third less
    time than NumPy, which is much for small vectors. It knows one dimension only,
    and neither float16 nor complex.
    """
    if view.ndim != 1 or not view.size or view.dtype.char not in _MEMORY_FORMATS:
        return None
    target: Any = memoryview(view)
    ndarray = np.ndarray

    def store(value: Any) -> None:
        if type(value) is not ndarray:
            raise Misfit
        try:
            target[:] = value
        except ValueError:  # another format or length
            raise Misfit from None

    return store


def bind_array(view: Any, path: str, *, copy: bool = True) -> tuple[Store, Load]:
    """Return what moves an array into ``view`` and out of it.

    Args:
        view: Over the array's place; of the dtype and shape that are wanted.
        path: For messages.
        copy: Whether what is loaded is a copy, or a read-only view.

    Returns:
        A store, which raises Misfit, and a load, which raises DecodeError.
    """
    dtype, shape, ndarray = view.dtype, view.shape, np.ndarray

    def store(value: Any) -> None:
        if (
            type(value) is not ndarray
            # Equal dtypes are mostly one object, and that is seen sooner.
            or (value.dtype is not dtype and value.dtype != dtype)
            or value.shape != shape
        ):
            raise Misfit
        view[...] = value

    def store_bool(value: Any) -> None:
        if type(value) is not ndarray or value.dtype != dtype or value.shape != shape:
            raise Misfit
        # True may be any byte but 0, as in an array of bytes viewed as bools.
        np.logical_or(value, value, view)

    load: Load = view.copy
    if not copy:
        readonly = view.view()
        readonly.flags.writeable = False

        def load() -> Any:
            return readonly

    if dtype.kind != "b":
        return _vector_store(view) or store, load
    raw, inner = view.view(np.uint8), load

    def load_checked() -> Any:
        if not is_bool(raw):
            raise DecodeError("a bool is a byte 0 or 1", path)
        return inner()

    return store_bool, load_checked


def _number(cell: memoryview, path: str) -> tuple[Store, Load]:
    store_number = make_number_store(cell[:8])
    load_number = make_number_load(cell[:8])
    code_word = cell[8:].cast("I")
    integers = cell[:8].cast("q")
    codes, int64_code, int64 = _INTEGER_CODES, SCALAR_CODES[np.int64], np.int64

    def store(value: Any) -> None:
        kind = type(value)
        if kind is int64:  # what Gymnasium's Discrete spaces sample
            integers[0] = value
            code_word[0] = int64_code
            return
        if kind is int:  # what people write
            try:
                integers[0] = value
            except ValueError:
                raise Misfit from None
            code_word[0] = INT
            return
        code = store_number(value)
        if code not in codes:
            raise Misfit
        code_word[0] = code

    def load() -> Any:
        code = code_word[0]
        if code == INT:
            return integers[0]
        if code == int64_code:
            return int64(integers[0])
        if code not in codes:
            raise DecodeError(f"a discrete value has type code {code}", path)
        try:
            return load_number(code)
        except KeyError:
            raise DecodeError("a bool is a byte 0 or 1", path) from None

    return store, load


def _dict(keys: list[str], members: list[tuple[Store, Load]]) -> tuple[Store, Load]:
    stores = [(key, member[0]) for key, member in zip(keys, members, strict=True)]
    loads = [(key, member[1]) for key, member in zip(keys, members, strict=True)]

    def store(value: Any) -> None:
        if type(value) is not dict or list(value) != keys:
            raise Misfit
        for key, member in stores:
            member(value[key])

    def load() -> Any:
        return {key: member() for key, member in loads}

    return store, load


def _tuple(members: list[tuple[Store, Load]]) -> tuple[Store, Load]:
    stores = [member[0] for member in members]
    loads = [member[1] for member in members]

    def store(value: Any) -> None:
        if type(value) is not tuple or len(value) != len(stores):
            raise Misfit
        for member, item in zip(stores, value, strict=True):
            member(item)

    def load() -> Any:
        return tuple([member() for member in loads])

    return store, load
