"""A vector whose lanes are all on one channel: its messages are the vector's own."""

from typing import Any, Final

from gymnasium.vector import AutoresetMode

from rlay.envs.algorithm_link import Step
from rlay.envs.attachments import Attachment
from rlay.envs.client_link import ClientLink
from rlay.envs.faults import reset_needed
from rlay.envs.lanes import Check, Transition
from rlay.envs.vector_infos import InfoForm, listed_infos
from rlay.envs.vector_resets import UNKNOWN_LANES, split_options
from rlay.protocol.decisions import Operation


class SoleBatch:
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
        self.step: Step = _compile_step(self._link, self._info_form)

    @property
    def channels(self) -> tuple[str | None, ...]:
        """The name of the channel, for each lane; None where it is lost."""
        name = None if self.over else self._link.channel.name
        return (name,) * self.facts.num_envs

    @property
    def over(self) -> bool:
        """Whether the session is over."""
        return self._link.over

    def send(self, actions: Any) -> None:
        """Send a step, and wait for nothing."""
        self._link.step_send(actions)

    def receive(self) -> Transition:
        """Wait for the transition of the step that was sent."""
        return _with_vector_infos(self._link.step_wait(), self._info_form)

    def reset(
        self, seed: Any, options: dict[str, Any] | None, check: Check = lambda: None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all lanes, or those of a mask in the options."""
        _, mask = split_options(options, self.facts.num_envs)
        if mask is not None and not (self._settled or mask.all()):
            raise reset_needed(UNKNOWN_LANES)
        observations, infos = self._link.reset(seed, options)
        self._settled = True
        return observations, _vector_infos(infos, self._info_form)

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


def _compile_step(link: ClientLink, form: InfoForm) -> Step:
    step = link.compile_step()

    def step_all(actions: Any) -> Transition:
        transition: Transition = step(actions)
        return _with_vector_infos(transition, form) if transition[4] else transition

    return step_all


def _with_vector_infos(transition: Transition, form: InfoForm) -> Transition:
    observations, rewards, terminations, truncations, infos = transition
    infos = _vector_infos(infos, form)
    return observations, rewards, terminations, truncations, infos


def _vector_infos(infos: Any, form: InfoForm) -> dict[str, Any]:
    """Return infos in Gymnasium's form, as a vector environment's own are."""
    if type(infos) is list:
        return form.joined(listed_infos(infos))
    return infos  # type: ignore[no-any-return]
