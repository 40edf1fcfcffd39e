"""A vector whose lanes are all on one channel: its messages are the vector's own."""

from typing import Any

from gymnasium.vector import AutoresetMode

from rlay.envs.attachments import Attachment
from rlay.envs.lanes import Transition
from rlay.envs.sole_session import SoleSession
from rlay.envs.vector_infos import InfoForm, listed_infos


class SoleBatch(SoleSession):
    """One session that carries a batch."""

    def __init__(self, attachment: Attachment, mode: AutoresetMode) -> None:
        """Take over a session."""
        super().__init__(attachment, mode)
        self._step = attachment.link.compile_step()

    def step(self, actions: Any) -> Transition:
        """Step all lanes; see ``ClientVectorEnv.step``."""
        transition: Transition = self._step(actions)
        if transition[4]:
            return _with_vector_infos(transition, self._info_form)
        return transition

    def send(self, actions: Any) -> None:
        """Send a step, and wait for nothing."""
        self._link.step_send(actions)

    def receive(self) -> Transition:
        """Wait for the transition of the step that was sent."""
        return _with_vector_infos(self._link.step_wait(), self._info_form)

    def _reset(
        self, seed: Any, options: dict[str, Any] | None
    ) -> tuple[Any, dict[str, Any]]:
        observations, infos = self._link.reset(seed, options)
        return observations, _vector_infos(infos, self._info_form)


def _with_vector_infos(transition: Transition, form: InfoForm) -> Transition:
    observations, rewards, terminations, truncations, infos = transition
    infos = _vector_infos(infos, form)
    return observations, rewards, terminations, truncations, infos


def _vector_infos(infos: Any, form: InfoForm) -> dict[str, Any]:
    """Return infos in Gymnasium's form, as a vector environment's own are."""
    if type(infos) is list:
        return form.joined(listed_infos(infos))
    return infos  # type: ignore[no-any-return]
