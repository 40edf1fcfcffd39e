"""Graphs are decoded as the protocol layer does it by itself.

``rlay.envs`` sets Gymnasium's type for the whole process, and tests of environments
may have run before.
"""

from collections.abc import Iterator

import pytest

from rlay.protocol import value_decoding
from rlay.protocol.value_decoding import GraphValue, set_graph_type


@pytest.fixture(autouse=True)
def _plain_graphs() -> Iterator[None]:
    before = value_decoding._graph_type
    set_graph_type(lambda *items: GraphValue(items))
    yield
    set_graph_type(before)
