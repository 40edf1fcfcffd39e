"""The bridge of ``listen=``: a child process that ends with what started it."""

import contextlib
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Final

from rlay.errors import (
    AuthError,
    ChannelBusy,
    ChannelError,
    ConnectTimeout,
    RLayError,
)
from rlay.processes.child import ChildProcess, Ending, StartFailed
from rlay.protocol.addresses import Endpoint, is_address, parse_endpoint
from rlay.transport.bridge_status import is_served, status_in
from rlay.transport.directory import ChannelDirectory

_log = logging.getLogger("rlay.processes.own_bridge")

START_LIMIT_S: Final = 30.0
"""How long a bridge may take until it listens: a hang, not a claim about speed."""
DRAIN_S: Final = 2.0
"""What requests in flight get when it is told to end; it is killed 3 s later."""
_LOOK_EVERY_S: Final = 0.01
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}
_REFUSED: Final = 78
_ECHO: Final = "bridge: "
_COMPLAINT: Final = re.compile(r"^(?:Error: |\S+Z (?:ERROR|CRITICAL) )")
"""How the command line, and the log, begin to say what is wrong."""
_VARIABLES: Final = (
    "With listen= its options are variables: RLAY_BRIDGE_TOKEN_FILE=rlay.token for "
    "--token-file, RLAY_BRIDGE_TLS_CERT=rlay.crt and RLAY_BRIDGE_TLS_KEY=rlay.key, "
    "RLAY_BRIDGE_INSECURE=1"
)


class OwnBridge:
    """A bridge over one directory of channels; nothing at all without an address.

    It is ``rlay bridge`` in a child process, which ends when :meth:`end` is called,
    when this object is collected, and when this process ends, by SIGKILL too. What it
    logs goes to this process's stderr. It takes its other settings from the variables
    that ``rlay bridge`` reads.

    Attributes:
        listening: Where it accepts peers, as HOST:PORT with the real ports; empty
            while it does not run.
    """

    def __init__(
        self,
        listen: str | None,
        channel: str,
        directory: str | os.PathLike[str] | None,
    ) -> None:
        """Take note of where to listen; nothing is started yet.

        Args:
            listen: HOST:PORT, port 0 for a free one; None for no bridge.
            channel: What the owner was given as the name of its channel.
            directory: Where channels live.

        Raises:
            ChannelError: ``listen`` is no address to listen at.
            ValueError: ``channel`` is at another bridge.
        """
        self.listening: tuple[str, ...] = ()
        self._endpoint = None if listen is None else _endpoint(listen)
        self._directory = directory
        self._child: ChildProcess | None = None
        if listen is not None and is_address(channel):
            raise ValueError(
                f"listen={listen!r} starts a bridge for a channel of this machine, but "
                f"{channel!r} is a channel at a bridge that runs already: give the "
                f"channel's name alone, {channel.rpartition('/')[2]!r}, or leave "
                "listen= out"
            )

    @property
    def address(self) -> str:
        """Where a program of this machine attaches, as ``tcp://127.0.0.1:7450``.

        Empty while it does not run.
        """
        if not self.listening:
            return ""
        scheme = "tls" if os.environ.get("RLAY_BRIDGE_TLS_CERT") else "tcp"
        host, _, port = self.listening[0].rpartition(":")
        return f"{scheme}://{_LOOPBACK.get(host, host)}:{port}"

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Start it for what the body makes; end it again where the body fails.

        Raises:
            AuthError: Others could reach it, and it has no token or no TLS; or its
                secrets are of no use.
            ChannelBusy: Another bridge serves the directory.
            ChannelError: It did not start; the message says why.
            ConnectTimeout: It did not listen within 30 s. It was ended.
        """
        try:
            self._start()
            yield
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Tell it to end, and wait until it has. Twice is harmless.

        In a forked child this leaves the parent's bridge alone.
        """
        child, self._child = self._child, None
        self.listening = ()
        if child is not None:
            ending = child.end()
            if ending.code:  # None: this is a forked child
                _log.warning("the bridge of listen= %s", ending.with_lines())

    def _start(self) -> None:
        if self._endpoint is None or self._child is not None:
            return
        # Opened here too, so that a directory that is not ours alone is said so by the
        # error that everybody else gets for it.
        with ChannelDirectory.open(self._directory) as root:
            try:
                self._child = ChildProcess.start(self._command(root), echo=_ECHO)
            except StartFailed as error:
                raise ChannelError(f"{self._failed}: {error}") from error
            self.listening = self._wait_until_it_listens(self._child, root)

    def _command(self, root: ChannelDirectory) -> list[str]:
        words = [sys.executable, "-m", "rlay", "bridge"]
        words += ["--listen", str(self._endpoint), "--directory", root.path]
        return [*words, "--drain-grace-s", f"{DRAIN_S:g}"]

    @property
    def _failed(self) -> str:
        return f"the bridge of listen='{self._endpoint}' did not start"

    def _wait_until_it_listens(
        self, child: ChildProcess, root: ChannelDirectory
    ) -> tuple[str, ...]:
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until:
            ending = child.wait(_LOOK_EVERY_S)
            if ending is not None:
                self._child = None
                child.end()
                raise self._start_error(ending, root)
            status = status_in(root)
            if status is not None and status["pid"] == child.pid:
                return tuple(status["listening"])
        ending = child.end()
        raise ConnectTimeout(
            f"{self._failed} within {START_LIMIT_S:g} s, and was ended. It "
            f"{ending.with_lines()}"
        )

    def _start_error(self, ending: Ending, root: ChannelDirectory) -> RLayError:
        said = complaint_of(ending)
        if ending.code == _REFUSED:
            return AuthError(f"{self._failed}: {said}\n{_VARIABLES}")
        if is_served(root):
            return ChannelBusy(f"{self._failed}: {_served_by(root)}")
        return ChannelError(f"{self._failed}: {said}")


def complaint_of(ending: Ending) -> str:
    """Return what a bridge that ended said was wrong, without times and levels."""
    for number, line in enumerate(ending.lines):
        found = _COMPLAINT.match(line)
        if found is not None:
            return "\n".join((line[found.end() :], *ending.lines[number + 1 :]))
    return f"its process {ending.with_lines()}"


def _served_by(root: ChannelDirectory) -> str:
    """Say which bridge there is, and what to do."""
    status = status_in(root) or {}
    where = " and ".join(status.get("listening", ()))
    who = f", process {status['pid']}," if "pid" in status else ""
    if where:
        return (
            f"another bridge{who} serves the channels in {root.path} already and "
            f"listens at {where}. Leave listen= out and attach peers there, or close() "
            "what started it; or give this object channels of its own with "
            "directory= or RLAY_DIR"
        )
    return (
        f"another bridge{who} serves the channels in {root.path} already, and listens "
        "nowhere. Leave listen= out and start that one with --listen; or give this "
        "object channels of its own with directory= or RLAY_DIR"
    )


def _endpoint(listen: str) -> Endpoint:
    example = "write host and port, as in listen='127.0.0.1:7450'"
    if str(listen).isdigit():
        raise ChannelError(
            f"listen={listen!r} names no host: write listen='127.0.0.1:{listen}'"
        )
    if not isinstance(listen, str):
        raise ChannelError(f"listen={listen!r} is no text: {example}")
    if is_address(listen):
        raise ChannelError(
            f"listen={listen!r} is an address for peers, who attach at "
            f"tcp://HOST:PORT/NAME: {example}"
        )
    try:
        return parse_endpoint(listen)
    except ChannelError as error:
        raise ChannelError(f"listen={listen!r}: {error} ({example})") from None
