"""The environment's end of a session: decisions in, reports out."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlay.envs.admission import make_admit
from rlay.envs.faults import failure_of, located, unsendable_failure
from rlay.envs.unsendable import POLICIES, Policy, mended
from rlay.errors import RemoteProtocolError, SpaceMismatch
from rlay.protocol.buffers import MessageBuffer
from rlay.protocol.constants import Capability, ErrorCode
from rlay.protocol.decisions import CallFields, DecisionReader, Operation
from rlay.protocol.greeting import EnvironmentFacts
from rlay.protocol.reports import ReportWriter, environment_failure
from rlay.protocol.tails import inner_path
from rlay.protocol.values import Unsendable, path_text
from rlay.transport.base import Channel

_log = logging.getLogger("rlay.envs.environment_end")


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What to do with unusual observations and infos.

    Attributes:
        cast_observations: Cast to the promised dtype and shape what would be refused.
        check_bounds: Refuse observations outside their space.
        on_unsendable_info: "raise", "repr" or "drop".
    """

    cast_observations: bool = False
    check_bounds: bool = False
    on_unsendable_info: Policy = "raise"

    def __post_init__(self) -> None:
        """Check the policy."""
        if self.on_unsendable_info not in POLICIES:
            raise ValueError(
                f"on_unsendable_info={self.on_unsendable_info!r}: choose one of "
                f"{', '.join(POLICIES)}"
            )


class EnvironmentEnd:
    """Writes the reports of one session, and reads its decisions.

    Attributes:
        channel: The session.
        reader: Reads decisions.
        writer: Writes reports.
    """

    def __init__(
        self,
        channel: Channel,
        facts: EnvironmentFacts,
        options: ReportOptions,
        contains: Callable[[Any], bool] | None = None,
    ) -> None:
        """Compile for a session.

        Args:
            channel: The session.
            facts: What the greeting said of the environment.
            options: What to do with the unusual.
            contains: The observation space's, for ``check_bounds``.
        """
        agreement = facts.agreement()
        admit = make_admit(
            facts.observation_space,
            batched=agreement.batched,
            cast_observations=options.cast_observations,
        )
        self.channel = channel
        self.reader = DecisionReader(agreement, channel.incoming)
        self.writer = ReportWriter(
            agreement,
            channel.outgoing,
            admit,
            records=Capability.RECORDS in channel.peer_capabilities,
        )
        self._policy = options.on_unsendable_info
        self._contains = contains if options.check_bounds else None

    @property
    def bounded(self) -> bool:
        """Whether every observation must be looked at."""
        return self._contains is not None

    def transition(
        self,
        buffer: MessageBuffer,
        observation: Any,
        reward: Any,
        terminated: Any,
        truncated: Any,
        info: Any,
    ) -> bytes | None:
        """Write a Transition, as ``ReportWriter.transition``; infos are mended."""
        if self._contains is not None:
            self._check_bounds(observation)
        try:
            return self.writer.transition(
                buffer, observation, reward, terminated, truncated, info
            )
        except Unsendable as error:
            info = self._mended(error, observation, info)
        try:
            return self.writer.transition(
                buffer, observation, reward, terminated, truncated, info
            )
        except Unsendable as error:
            raise located(error, observation) from None

    def reset_result(
        self, buffer: MessageBuffer, observation: Any, info: Any
    ) -> bytes | None:
        """Write a ResetResult, as ``ReportWriter.reset_result``; infos are mended."""
        if self._contains is not None:
            self._check_bounds(observation)
        try:
            return self.writer.reset_result(buffer, observation, info)
        except Unsendable as error:
            info = self._mended(error, observation, info)
        try:
            return self.writer.reset_result(buffer, observation, info)
        except Unsendable as error:
            raise located(error, observation) from None

    def _check_bounds(self, observation: Any) -> None:
        assert self._contains is not None  # noqa: S101 - the callers looked
        if not self._contains(observation):
            raise SpaceMismatch(
                "the observation is outside its space (check_bounds=True); mend the "
                "environment, or the space that it declares"
            )

    def _mended(self, error: Unsendable, observation: Any, info: Any) -> Any:
        """Return an info that can be sent, or raise ``error`` again."""
        item, _ = inner_path(error, {2: "info"})
        if self._policy == "raise" or item != "info":
            raise located(error, observation) from None
        return mended(info, self._policy)

    def failure(self, buffer: MessageBuffer, error: BaseException) -> bytes | None:
        """Write a Failure that tells of ``error``."""
        if isinstance(error, Unsendable):
            failure = unsendable_failure(error)
        else:
            failure = failure_of(error)
        _log.info("reported to the algorithm: %s", failure.remote_type)
        return self.writer.failure(buffer, failure)

    def breach(self, buffer: MessageBuffer, error: RemoteProtocolError) -> bytes | None:
        """Write a Failure that tells the algorithm of its own breach."""
        failure = environment_failure(ErrorCode.PROTOCOL, "ProtocolError", str(error))
        return self.writer.failure(buffer, failure)

    def call_result(self, buffer: MessageBuffer, value: Any) -> bytes | None:
        """Write a CallResult; a value that cannot travel becomes a Failure."""
        try:
            return self.writer.call_result(buffer, value)
        except Unsendable as error:
            path = path_text(error.keys[1:])
            text = f"what the call returned cannot be sent: {error.reason}, at {path}"
            return self.writer.failure(
                buffer,
                environment_failure(ErrorCode.UNSENDABLE_INFO, "Unsendable", text),
            )


class AllowedNames:
    """What the algorithm may ask of an environment besides step and reset."""

    def __init__(self, env: Any, allow: dict[str, bool], *, vector: bool) -> None:
        """Serve the names in ``allow`` of ``env``."""
        self._env = env
        self._allow = allow
        self._vector = vector

    def answer(self, call: CallFields) -> Any:
        """Return the value of an attribute, the result of a method, or a frame.

        Raises:
            PermissionError: The name is not allowed.
            Exception: Whatever the environment raises.
        """
        if call.operation is Operation.RENDER:
            return self._env.render()
        if call.name not in self._allow:
            raise PermissionError(
                f"{call.name!r} is not allowed: the backend allows "
                f"{sorted(self._allow) or 'nothing'}; add it to allow=[...]"
            )
        if self._vector:
            return self._answer_vector(call)
        if call.operation is Operation.SET:
            self._env.set_wrapper_attr(call.name, *call.args)
            return None
        found = self._env.get_wrapper_attr(call.name)
        return found(*call.args, **call.kwargs) if self._allow[call.name] else found

    def _answer_vector(self, call: CallFields) -> Any:
        if call.operation is Operation.SET:
            self._env.set_attr(call.name, *call.args)
            return None
        return self._env.call(call.name, *call.args, **call.kwargs)
