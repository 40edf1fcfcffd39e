"""Case files: the scripted environment that a test program plays."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium

from rlay.envs.spaces import describe
from rlay.protocol.spaces import pack_space
from rlay.protocol.values import encode_value

Entry = dict[str, Any]


@dataclass(frozen=True)
class Script:
    """What a test program plays; the keys of ``clients/README.md``.

    Attributes:
        space: Of the observations.
        action_space: None: the same space, so that steps may echo their action.
        resets: What the resets do.
        steps: What the steps do.
        settings: Any further keys.
    """

    space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any] | None = None
    resets: list[Entry] = field(default_factory=list)
    steps: list[Entry] = field(default_factory=lambda: [{}])
    settings: dict[str, Any] = field(default_factory=dict)

    def encode(self, case: str) -> bytes:
        """Return the contents of the file."""
        action_space = self.space if self.action_space is None else self.action_space
        return encode_value(
            {
                "case": case,
                "observation_space": pack_space(describe(self.space)),
                "action_space": pack_space(describe(action_space)),
                "resets": self.resets,
                "steps": self.steps,
                **self.settings,
            }
        )
