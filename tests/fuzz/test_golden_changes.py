"""Golden vectors, cut off anywhere and changed anywhere: rows D9 and D10.

Each target reads them as any bytes. Every truncation is tried, and every byte in the
place of which another one stands: its lowest and highest bit the other way round, none,
all, and one more.
"""

import tracemalloc
from collections.abc import Iterator

import pytest

from tests.fuzz import seeds
from tests.fuzz.targets import run

pytestmark = pytest.mark.timeout(300)

_WHOLE_BYTES = 2048
"""Of longer vectors the middle is alike: there only each 31st byte is changed."""
_STRIDE = 31
_MAX_PEAK_BYTES = 64 * 1024 * 1024


def truncations(data: bytes) -> Iterator[bytes]:
    """Give all beginnings of ``data`` but itself."""
    for size in places(data):
        yield data[:size]


def changes(data: bytes) -> Iterator[bytes]:
    """Give ``data`` with one other byte."""
    changed = bytearray(data)
    for place in places(data):
        byte = data[place]
        for other in {byte ^ 1, byte ^ 0x80, 0, 0xFF, byte + 1 & 0xFF} - {byte}:
            changed[place] = other
            yield bytes(changed)
        changed[place] = byte


def places(data: bytes) -> range | list[int]:
    """Return where ``data`` is cut off and changed."""
    if len(data) <= _WHOLE_BYTES:
        return range(len(data))
    ends = _WHOLE_BYTES // 2
    middle = range(ends, len(data) - ends, _STRIDE)
    return [*range(ends), *middle, *range(len(data) - ends, len(data))]


@pytest.mark.parametrize("target", seeds.names())
def test_targets_read_their_golden_vectors(target):
    """Some of them without an error: the target is at the right place."""
    read = [run(target, data) for data in seeds.golden(target)]
    assert any(read)


@pytest.mark.parametrize("target", seeds.names())
def test_d9_corpus_makes_no_fault(target):
    """D9: what once did is not forgotten."""
    for data in seeds.kept(target):
        run(target, data)


@pytest.mark.parametrize("target", seeds.names())
def test_d9_every_truncation_of_a_golden_vector(target):
    """D9: only documented errors come out."""
    for data in seeds.golden(target):
        for cut in truncations(data):
            run(target, cut)


@pytest.mark.parametrize("target", seeds.names())
def test_d9_every_changed_byte_of_a_golden_vector(target):
    """D9: only documented errors come out."""
    for data in seeds.golden(target):
        for changed in changes(data):
            run(target, changed)


@pytest.mark.parametrize("target", seeds.names())
def test_d10_no_change_of_a_byte_takes_much_memory(target):
    """D10: a length that cannot be is refused before memory is taken for it."""
    data = max(seeds.golden(target), key=len)[:_WHOLE_BYTES]
    run(target, data)
    tracemalloc.start()
    try:
        for changed in changes(data):
            run(target, changed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < _MAX_PEAK_BYTES
