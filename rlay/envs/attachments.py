"""Client ends that found their channel and were welcomed: behind ``ClientEnv``."""

import contextlib
import os
import time
from collections.abc import Callable

from rlay import errors
from rlay.envs.client_link import ClientLink
from rlay.envs.timeouts import Timeouts
from rlay.errors import (
    ChannelBusy,
    ChannelError,
    ChannelNotFound,
    ConnectTimeout,
    EnvLost,
    PeerLost,
)
from rlay.protocol.addresses import is_address
from rlay.protocol.constants import CloseReason, Paradigm
from rlay.protocol.greeting import EnvironmentFacts, Hello, Welcome, Wishes
from rlay.protocol.names import group_member, group_prefix
from rlay.transport.attaching import ClientEnd, find_channel
from rlay.transport.directory import ChannelDirectory
from rlay.transport.ends import CAPABILITIES, draw_id
from rlay.transport.mem_client import MemClient
from rlay.transport.peers import PeerGone
from rlay.transport.software import SOFTWARE

_LOOK_EVERY_S = 0.01
_BUSY_PAUSE_S = 0.1
_GROUP_GRACE_S = 2.0
"""How long a group whose channels are all taken may grow before that is an error."""


class Attachment:
    """A client end that found its channel and was welcomed.

    Attributes:
        client: The end.
        link: The session.
    """

    def __init__(self, client: ClientEnd, link: ClientLink) -> None:
        """Keep both."""
        self.client = client
        self.link = link

    def let_go(self) -> None:
        """Leave the channel at once."""
        self.client.close(CloseReason.CLOSED)

    def say_goodbye(self) -> None:
        """Tell the backend, then leave.

        Raises:
            CloseTimeout: It did not answer in time. The channel is left all the same.
        """
        try:
            if not self.link.over:
                with contextlib.suppress(errors.EnvLost):
                    self.link.close()
        finally:
            self.let_go()


def attach_client(
    name: str,
    directory: str | os.PathLike[str] | None,
    timeouts: Timeouts,
    wishes: Wishes,
    *,
    copy: bool,
    look: Callable[[], None] | None = None,
) -> Attachment:
    """Wait for a channel, greet its backend, and return the session.

    Args:
        name: Of a channel, or of a group (``n.*``): its first free channel.
        directory: Where channels live.
        timeouts: ``connect`` limits the whole of it.
        wishes: What the algorithm asks of the backend.
        copy: Whether observations are copies.
        look: Called now and then while there is no such channel; raises where it is
            of no use to wait any longer.

    Raises:
        ConnectTimeout: There is no such channel, or its backend did not answer.
        ChannelBusy: It has a client, or all channels of the group have.
        ChannelError: It is no channel for a ``ClientEnv``, or not sound.
        RemoteEnvError: The environment could not be made there.
    """
    limit = timeouts.connect
    now = time.monotonic()
    until = None if limit is None else now + limit
    busy_until = now + _GROUP_GRACE_S
    while True:
        client = _open_waiting(name, directory, limit, until, look)
        try:
            check_paradigm(client, name, wishes)
            link = _greeted(client, timeouts, wishes, until, copy=copy)
        except ChannelBusy:
            # Somebody was faster at a bridge: the group may have another free one.
            client.close(CloseReason.CLOSED)
            if not name.endswith(".*") or time.monotonic() >= busy_until:
                raise
            time.sleep(_BUSY_PAUSE_S)
        except (PeerGone, PeerLost) as error:
            # A backend that went away during the greeting is none: the next one of
            # this name may come yet.
            client.close(CloseReason.CLOSED)
            if isinstance(error, EnvLost) or _is_past(until):
                raise
        except BaseException:
            client.close(CloseReason.CLOSED)
            raise
        else:
            return Attachment(client, link)


def _is_past(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


def _greeted(
    client: ClientEnd,
    timeouts: Timeouts,
    wishes: Wishes,
    until: float | None,
    *,
    copy: bool,
) -> ClientLink:
    left = None if until is None else max(0.0, until - time.monotonic())
    ids, welcome = client.greet(hello_of(wishes), (0, draw_id()), left)
    channel = client.attach(welcome, ids)
    return ClientLink(channel, facts_in(welcome), timeouts, copy=copy)


def hello_of(wishes: Wishes) -> Hello:
    """Return what an algorithm says to a backend."""
    return Hello(
        Paradigm.CLIENT_ENV,
        wishes=wishes,
        software=SOFTWARE,
        capabilities=CAPABILITIES,
    )


def facts_in(welcome: Welcome) -> EnvironmentFacts:
    """Return what a Welcome says of the environment.

    Raises:
        RemoteProtocolError: Nothing.
    """
    if welcome.environment is None:
        raise errors.RemoteProtocolError("a backend greeted without an environment")
    return welcome.environment


def check_paradigm(client: ClientEnd, name: str, wishes: Wishes) -> None:
    """Refuse a channel that is not one for these wishes.

    Raises:
        ChannelError: A ServerEnv made it; or it carries several environments, and one
            is wanted.
    """
    if client.facts.paradigm is not Paradigm.CLIENT_ENV:
        raise ChannelError(
            f"channel {name!r} was made by a ServerEnv, which waits for a game: attach "
            "a ClientBackend to it, or serve an environment with ServerBackend"
        )
    if client.facts.num_envs > 1 and not wishes.vector:
        raise ChannelError(
            f"channel {name!r} carries {client.facts.num_envs} environments: use "
            f"rlay.ClientVectorEnv({name!r})"
        )


def _open_waiting(
    name: str,
    directory: str | os.PathLike[str] | None,
    limit_s: float | None,
    until: float | None,
    look: Callable[[], None] | None,
) -> ClientEnd:
    if is_address(name):
        left = None if until is None else max(0.0, until - time.monotonic())
        return find_channel(name, left)
    prefix = group_prefix(name)
    busy_until = time.monotonic() + _GROUP_GRACE_S
    if limit_s is not None:
        busy_until = min(busy_until, time.monotonic() + limit_s)
    while True:
        try:
            if prefix is None:
                return MemClient.open(name, directory)
            return _open_free(prefix, directory)
        except ChannelNotFound as error:
            if until is not None and time.monotonic() >= until:
                raise _not_found(name, directory, limit_s) from error
        except ChannelBusy:
            if prefix is None or time.monotonic() >= busy_until:
                raise
        if look is not None:
            look()
        time.sleep(_LOOK_EVERY_S)


def _open_free(prefix: str, directory: str | os.PathLike[str] | None) -> ClientEnd:
    with ChannelDirectory.open(directory, create=False) as root:
        names = root.names()
    members = sorted(
        (number, member)
        for member in names
        if (number := group_member(prefix, member)) is not None
    )
    busy: list[str] = []
    for _, member in members:
        try:
            return MemClient.open(member, directory)
        except ChannelBusy as error:
            busy.append(str(error))
        except ChannelNotFound:
            continue
    if busy:
        raise ChannelBusy(
            f"all {len(busy)} channels of the group {prefix}.* are taken; serve more "
            f"with --channels {len(busy) + 1}, or close one. {'; '.join(busy[:3])}"
        )
    raise ChannelNotFound(f"no channel of the group {prefix}.* exists")


def _not_found(
    name: str, directory: str | os.PathLike[str] | None, limit_s: float | None
) -> ConnectTimeout:
    where, there = "the channel directory", "none"
    with (
        contextlib.suppress(ChannelError),
        ChannelDirectory.open(directory, create=False) as root,
    ):
        where, there = root.path, ", ".join(root.names()[:20]) or "none"
    serve = name.removesuffix(".*")
    return ConnectTimeout(
        f"no channel {name!r} appeared in {where} within {limit_s} s (channels there: "
        f"{there}). Start its environment with: rlay serve ENV-ID --name {serve}"
    )
