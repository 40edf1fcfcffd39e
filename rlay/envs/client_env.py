"""``ClientEnv``: the algorithm is here, the environment answers elsewhere."""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from rlay import errors
from rlay.envs.display import backend_mode
from rlay.envs.links import ClientLink
from rlay.envs.remote_env import RemoteEnv, channel_name, given_arguments
from rlay.envs.timeouts import (
    DEFAULT_CLOSE_S,
    DEFAULT_CONNECT_S,
    DEFAULT_RESET_S,
    DEFAULT_STEP_S,
    Timeouts,
)
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

_log = logging.getLogger("rlay.envs.client_env")

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
            _check_paradigm(client, name, wishes)
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
    hello = Hello(
        Paradigm.CLIENT_ENV,
        wishes=wishes,
        software=SOFTWARE,
        capabilities=CAPABILITIES,
    )
    ids, welcome = client.greet(hello, (0, draw_id()), left)
    channel = client.attach(welcome, ids)
    return ClientLink(channel, _facts(welcome), timeouts, copy=copy)


def _facts(welcome: Welcome) -> EnvironmentFacts:
    if welcome.environment is None:
        raise errors.RemoteProtocolError("a backend greeted without an environment")
    return welcome.environment


def _check_paradigm(client: ClientEnd, name: str, wishes: Wishes) -> None:
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


class ClientEnv(RemoteEnv):
    """An environment that a ``ServerBackend`` holds in another process.

    The constructor waits until the channel is there and the backend has greeted.
    Gymnasium's wrappers, checkers and trainers take it for what it is: a
    ``gymnasium.Env``.

    Example::

        env = rlay.ClientEnv("cartpole")       # rlay serve CartPole-v1 --name cartpole
        observation, info = env.reset(seed=0)
        observation, reward, terminated, truncated, info = env.step(1)
        env.close()
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as Gymnasium
    _entry_id = "rlay/ClientEnv-v0"
    _entry_point = "rlay.envs.registration:make_client_env"

    def __init__(
        self,
        name: str | None = None,
        *,
        connect_timeout: float | None = DEFAULT_CONNECT_S,
        reset_timeout: float | None = DEFAULT_RESET_S,
        step_timeout: float | None = DEFAULT_STEP_S,
        close_timeout: float | None = DEFAULT_CLOSE_S,
        directory: str | os.PathLike[str] | None = None,
        listen: str | None = None,
        render_mode: str | None = None,
        copy: bool = True,
        check_bounds: bool = False,
    ) -> None:
        """Attach to a channel.

        Args:
            name: Of the channel, or of a group: ``n.*`` takes its first free
                channel; or an address at a bridge, ``tcp://host:port/name`` or
                ``tls://...``. None for ``$RLAY_CHANNEL``.
            connect_timeout: Seconds to wait for the channel and the greeting; None
                for ever.
            reset_timeout: Seconds to wait for a first observation.
            step_timeout: Seconds to wait for a transition.
            close_timeout: Seconds to wait for the environment to close.
            directory: Where channels live; None for ``$RLAY_DIR`` or the default.
            listen: Where to start a bridge, as ``127.0.0.1:7450``, for peers that
                attach to it directly; it ends with this environment. None: no bridge.
            render_mode: Wanted; the backend takes it if it was given an id and no
                mode. ``human`` over a backend that renders ``rgb_array`` opens a
                window here, ``rgb_array_list`` collects frames here.
            copy: Whether observations are copies. If not, they are read-only views
                into the slot, valid until the next but one step, reset, render or
                other call. With ``human`` and ``rgb_array_list`` always copies.
            check_bounds: Whether each observation must lie within its space.

        Raises:
            ConnectTimeout: No channel, or no greeting, in time.
            ChannelBusy: The channel has a client; the message names it.
            ChannelError: The channel cannot be used, or the bridge of ``listen`` did
                not start; the message says why.
            AuthError: The bridge of an address and this end do not trust each other;
                or ``listen`` can be reached by others, and there is no token or TLS.
            RemoteEnvError: The environment could not be made there.
        """
        super().__init__(
            channel_name(name, group=True),
            given_arguments(locals(), ClientEnv),
            Timeouts(connect_timeout, reset_timeout, step_timeout, close_timeout),
            directory=directory,
            listen=listen,
            render_mode=render_mode,
            copy=copy,
            check_bounds=check_bounds,
        )
        self._attachment: Attachment | None = None
        with self._bridge.starting():
            self._connect()

    def _connect(self) -> None:
        wishes = Wishes(render_mode=backend_mode(self._wanted_mode))
        attachment = attach_client(
            self.name,
            self._directory,
            self._timeouts,
            wishes,
            copy=self._copy,
            look=self._look_while_waiting,
        )
        try:
            self._take_over(attachment.link.facts)
            self._attached(attachment.link)
        except BaseException:
            attachment.let_go()
            raise
        self._attachment = attachment

    def _look_while_waiting(self) -> None:
        """Raise where it is of no use to wait for the channel any longer."""

    def _take_over(self, facts: EnvironmentFacts) -> None:
        error = self._same_as_before(facts)
        if error is not None:
            raise error
        if facts.num_envs > 1:
            raise ChannelError(
                f"channel {self.name!r} carries {facts.num_envs} environments: use "
                f"rlay.ClientVectorEnv({self.name!r})"
            )
        self.__dict__["metadata"] = dict(facts.metadata)

    def _detach(self) -> None:
        self._link = None
        if self._attachment is not None:
            self._attachment.let_go()
            self._attachment = None

    def _say_goodbye(self) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.say_goodbye()

    def _let_go(self) -> None:
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.let_go()
