"""A vector that is one session, which is all or nothing: no lane outlives another."""

from typing import Any, Final

from gymnasium.vector import AutoresetMode

from rlay.envs.attachments import Attachment
from rlay.envs.faults import reset_needed
from rlay.envs.lanes import Check, Transition
from rlay.envs.vector_infos import InfoForm
from rlay.envs.vector_resets import UNKNOWN_LANES, split_options
from rlay.protocol.decisions import Operation


class SoleSession:
    """One session that carries everything; has the methods of ``Lanes``.

    Attributes:
        facts: What the backend said of its environments.
        mode: When ended environments start again.
    """

    def __init__(self, attachment: Attachment, mode: AutoresetMode) -> None:
        """Take over a session."""
        self.mode: Final = mode
        self._attachment = attachment
        self._link = attachment.link
        self.facts = attachment.link.facts
        self._info_form = InfoForm(self.facts.num_envs)
        self._settled = False

    @property
    def channels(self) -> tuple[str | None, ...]:
        """The name of the channel, for each lane; None where it is lost."""
        name = None if self.over else self._link.channel.name
        return (name,) * self.facts.num_envs

    @property
    def over(self) -> bool:
        """Whether the session is over."""
        return self._link.over

    def step(self, actions: Any) -> Transition:
        """Step all lanes; see ``ClientVectorEnv.step``."""
        raise NotImplementedError

    def send(self, actions: Any) -> None:
        """Send a step, and wait for nothing."""
        raise NotImplementedError

    def receive(self) -> Transition:
        """Wait for the transition of the step that was sent."""
        raise NotImplementedError

    def reset(
        self, seed: Any, options: dict[str, Any] | None, check: Check = lambda: None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of a mask in the options."""
        _, mask = split_options(options, self.facts.num_envs)
        if mask is not None and not (self._settled or mask.all()):
            raise reset_needed(UNKNOWN_LANES)
        result = self._reset(seed, options)
        self._settled = True
        return result

    def _reset(
        self, seed: Any, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        raise NotImplementedError

    def unsettle(self) -> None:
        """Take note that a call was broken off: all lanes must be reset next."""
        self._settled = False

    def call(
        self, operation: Operation, name: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Ask the backend, and return what it says of all lanes."""
        return self._link.call(operation, name, args, kwargs)

    def close(self) -> None:
        """Tell the backend, and leave the channel."""
        self._attachment.say_goodbye()

    def let_go(self) -> None:
        """Leave the channel at once. Twice is harmless."""
        self._attachment.let_go()
