"""The environment's end of a session: what it writes for whom."""

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest

from rlay.envs.environment_end import EnvironmentEnd, ReportOptions
from rlay.envs.facts import facts_of
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Capability, Flag
from rlay.protocol.slot_layout import KIND_WORD


class _Channel:
    """As much of a channel as an environment's end looks at."""

    def __init__(self, capabilities: Capability, capacity_bytes: int) -> None:
        self.peer_capabilities = capabilities
        pair = [MessageBuffer.private(capacity_bytes) for _ in range(4)]
        self.outgoing, self.incoming = tuple(pair[:2]), tuple(pair[2:])


@pytest.fixture
def env() -> Iterator[gymnasium.Env]:
    made = gymnasium.make("CartPole-v1")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("capabilities", "is_record"),
    [(Capability.RECORDS, True), (Capability.FUTEX, False)],
)
def test_info_travels_as_a_record_only_to_a_peer_that_knows_records(
    env: gymnasium.Env, capabilities: Capability, is_record: bool
) -> None:
    """The second info of the same keys is a record if the peer said RECORDS."""
    facts = facts_of(env)
    channel = _Channel(capabilities, facts.agreement().report_capacity)
    end = EnvironmentEnd(channel, facts, ReportOptions())  # type: ignore[arg-type]
    observation = np.zeros(4, dtype=np.float32)
    buffer = channel.outgoing[0]
    for _ in range(2):
        end.transition(buffer, observation, 1.0, False, False, {"x": 1.5})
    assert bool(buffer.words[KIND_WORD] & Flag.RECORD) is is_record
