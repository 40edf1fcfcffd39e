"""What the two ends agreed upon at the greeting."""

from dataclasses import dataclass

from rlay.protocol.constants import TAIL_ROOM_BYTES
from rlay.protocol.layout import DECISION_EXTRA, REPORT_EXTRA, Layout, compile_layout
from rlay.protocol.slot_layout import slot_capacity
from rlay.protocol.spaces import Description


@dataclass(frozen=True, slots=True)
class Agreement:
    """Spaces and layouts of one session.

    Attributes:
        observation_space: Of one environment.
        action_space: Of one environment.
        num_envs: Environments in one message, at least 1.
        batched: Whether messages carry batches, also where ``num_envs`` is 1.
        report_layout: Where observations lie.
        decision_layout: Where actions lie.
    """

    observation_space: Description
    action_space: Description
    num_envs: int
    batched: bool
    report_layout: Layout
    decision_layout: Layout

    @classmethod
    def compile(
        cls,
        observation_space: Description,
        action_space: Description,
        num_envs: int,
        *,
        batched: bool,
    ) -> "Agreement":
        """Compile both layouts.

        Raises:
            MessageTooLarge: An observation or an action exceeds 1 GiB.
        """
        return cls(
            observation_space,
            action_space,
            num_envs,
            batched,
            compile_layout(observation_space, num_envs, REPORT_EXTRA, batched=batched),
            compile_layout(action_space, num_envs, DECISION_EXTRA, batched=batched),
        )

    @property
    def report_capacity(self) -> int:
        """Room in bytes for a report in its slot."""
        return slot_capacity(self.report_layout.fixed_bytes + TAIL_ROOM_BYTES)

    @property
    def decision_capacity(self) -> int:
        """Room in bytes for a decision in its slot."""
        return slot_capacity(self.decision_layout.fixed_bytes + TAIL_ROOM_BYTES)
