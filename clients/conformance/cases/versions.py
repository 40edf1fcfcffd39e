"""Another major version, on either side: refused, with both versions in the message."""

import contextlib
import struct
from collections.abc import Iterator
from typing import Final
from unittest import mock

import rlay
from clients.conformance.cases.delivery import counting, run_steps
from clients.conformance.cases.registering import case
from clients.conformance.programs import REFUSED
from clients.conformance.stage import Stage
from rlay.protocol import greeting, refusal
from rlay.protocol.constants import PROTOCOL_VERSION, ErrorCode
from rlay.transport import mem_client, socket_client
from rlay.transport.refusals import refusal_error

_OTHER: Final = PROTOCOL_VERSION + 1


@contextlib.contextmanager
def _greeting_as(version: int, minor: int = 0) -> Iterator[None]:
    """Let this process greet as one of another version, for the body."""
    head = struct.pack("<8sII", refusal.GREETING_HEAD[:8], version, minor)
    with mock.patch.object(greeting, "GREETING_HEAD", head):
        yield


@case("another major version", game="see: a trainer of another major version")
def _major(stage: Stage) -> None:
    """The client's HELLO is refused, and the program serves the next client."""
    program = stage.start(counting())
    refusals: list[refusal.Refusal] = []

    def keep(answer: refusal.Refusal) -> Exception:
        refusals.append(answer)
        return refusal_error(answer)

    with (
        _greeting_as(_OTHER),
        mock.patch.object(mem_client, "refusal_error", keep),
        mock.patch.object(socket_client, "refusal_error", keep),
    ):
        try:
            with stage.attached(program):
                raise AssertionError(f"a HELLO of version {_OTHER} was welcomed")
        except rlay.VersionMismatch:
            pass
    assert [answer.code for answer in refusals] == [ErrorCode.VERSION], refusals
    _assert_names_both(refusals[0].message)
    with stage.attached(program) as env:
        env.reset()
        run_steps(env, 1, 3)
    program.wait(10)


@case("a trainer of another major version", environment="it answers, and never asks")
def _major_of_trainer(stage: Stage) -> None:
    """The program ends and names both versions."""
    with _greeting_as(_OTHER):
        env = rlay.ServerEnv(
            stage.channel, directory=stage.place.directory, connect_timeout=5
        )
        try:
            program = stage.start(counting())
            with contextlib.suppress(rlay.RLayError):
                env.wait_until_connected()
            program.wait(10, REFUSED)
        finally:
            env.close()
    _assert_names_both(program.last_words)


@case("a higher minor version")
def _minor(stage: Stage) -> None:
    """It only adds what may be ignored: the session works."""
    with _greeting_as(PROTOCOL_VERSION, 7):
        program = stage.start(counting())
        with stage.attached(program) as env:
            env.reset()
            run_steps(env, 1, 3)
        program.wait(10)


def _assert_names_both(text: str) -> None:
    for version in (PROTOCOL_VERSION, _OTHER):
        assert str(version) in text, f"version {version} is not named in: {text}"
