"""What a bridge is told: one table for options, variables and the file.

Rule 1: a setting is declared once, as a field of :class:`BridgeSettings`. Its option,
its environment variable and its key in the file follow from its name.
Rule 2: whatever others could reach needs a token and TLS, or nothing is started.
Rule 3: secrets come from files; see ``rlay.transport.credentials``.
"""

import ipaddress
import sys
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Final, NamedTuple

from rlay.errors import AuthError, ChannelError
from rlay.protocol.addresses import Endpoint
from rlay.protocol.constants import MAX_SLOT_PAYLOAD_BYTES
from rlay.protocol.names import check_name

VARIABLE_PREFIX: Final = "RLAY_BRIDGE_"
TOKEN_VARIABLES: Final = (VARIABLE_PREFIX + "TOKEN_FILE", "RLAY_TOKEN_FILE")
"""The second one is that of programs which attach directly: one name for both."""

_DAY_S: Final = 86_400.0
_MOST_LINKS: Final = 1024
_DESCRIPTORS_KEPT: Final = 64
"""For files, health, and peers that have not proved yet who they are."""
_BEATS_BEFORE_DEATH: Final = 2


class SettingsError(ValueError):
    """A setting is not what it can be: the program was called wrongly."""


class Kind(Enum):
    """What a setting holds."""

    TEXT = "text"
    TEXTS = "texts"
    ENDPOINT = "address"
    ENDPOINTS = "addresses"
    PATH = "path"
    SWITCH = "switch"
    SECONDS = "seconds"
    COUNT = "count"


class Setting(NamedTuple):
    """One setting, and its three names.

    Attributes:
        name: Of the field, and the key in the file.
        kind: What it holds.
        default: Its value where nobody says anything.
        shown_default: The same, in words.
        metavar: What stands for its value in a help text.
        text: What it means.
        least: The smallest number that is allowed.
        most: The largest.
    """

    name: str
    kind: Kind
    default: Any
    shown_default: str
    metavar: str
    text: str
    least: float
    most: float

    @property
    def option(self) -> str:
        """Its option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def options(self) -> tuple[str, ...]:
        """All its options: a switch can be turned off too."""
        if self.kind is Kind.SWITCH:
            return self.option, "--no" + self.option[1:]
        return (self.option,)

    @property
    def variables(self) -> tuple[str, ...]:
        """Its environment variables, the one that goes first in front."""
        if self.name == "token_file":
            return TOKEN_VARIABLES
        return (VARIABLE_PREFIX + self.name.upper(),)


def _setting(
    kind: Kind,
    default: Any,
    text: str,
    *,
    metavar: str = "",
    shown: str = "",
    least: float = 0,
    most: float = _DAY_S,
) -> Any:
    """Declare a setting: a dataclass's field."""
    metavar = metavar or {Kind.SECONDS: "S", Kind.COUNT: "N"}.get(kind, "")
    if not shown:
        shown = f"{default:g}" if kind in (Kind.SECONDS, Kind.COUNT) else "none"
        shown = "off" if kind is Kind.SWITCH else shown
    facts = kind, default, shown, metavar, text, least, most
    return field(default=default, metadata={"facts": facts})


@dataclass(frozen=True, kw_only=True)
class BridgeSettings:
    """Everything that a bridge is told. Checked by :func:`check_settings`.

    Attributes are explained where they are declared, which is also where the help of
    ``rlay bridge`` has its text from.
    """

    listen: tuple[Endpoint, ...] = _setting(
        Kind.ENDPOINTS,
        (),
        "where to accept links; port 0 takes a free one",
        metavar="HOST:PORT",
    )
    connect: tuple[Endpoint, ...] = _setting(
        Kind.ENDPOINTS,
        (),
        "a bridge to dial, again and again while it is not there",
        metavar="HOST:PORT",
    )
    share: tuple[str, ...] = _setting(
        Kind.TEXTS,
        ("*",),
        "channels of this machine that others may see, by pattern",
        metavar="PATTERN",
        shown="`*`",
    )
    prefix: str = _setting(
        Kind.TEXT,
        "",
        "put before the names that the channels of this machine have on others, where "
        "two machines share a name",
        metavar="TEXT",
    )
    directory: str | None = _setting(
        Kind.PATH,
        None,
        "where channels live",
        metavar="D",
        shown="`$RLAY_DIR`, or `/dev/shm/rlay-<uid>`",
    )
    token_file: str | None = _setting(
        Kind.PATH,
        None,
        "a file of mode 0600 with the token that both ends know",
        metavar="FILE",
    )
    tls_cert: str | None = _setting(
        Kind.PATH,
        None,
        "the certificate of this machine, in PEM: turns on TLS where it listens, and "
        "is shown where it dials and is asked for one",
        metavar="FILE",
    )
    tls_key: str | None = _setting(
        Kind.PATH,
        None,
        "its key, a file of mode 0600",
        metavar="FILE",
    )
    tls_client_ca: str | None = _setting(
        Kind.PATH,
        None,
        "authorities that must have signed a dialer's certificate (mutual TLS)",
        metavar="FILE",
    )
    tls: bool = _setting(
        Kind.SWITCH,
        False,
        "dial with TLS, checked against the authorities of the system",
    )
    tls_ca: str | None = _setting(
        Kind.PATH,
        None,
        "dial with TLS, checked against these authorities, in PEM",
        metavar="FILE",
    )
    tls_fingerprint: str | None = _setting(
        Kind.TEXT,
        None,
        "dial with TLS, and accept this one certificate: its SHA-256",
        metavar="HEX",
    )
    insecure: bool = _setting(
        Kind.SWITCH,
        False,
        "do without token and TLS even where others can reach it",
    )
    allow_origin: tuple[str, ...] = _setting(
        Kind.TEXTS,
        (),
        "an origin of web pages that may attach, such as https://play.example; "
        "without any, pages of this machine may, and only to a loopback address",
        metavar="ORIGIN",
    )
    heartbeat_s: float = _setting(
        Kind.SECONDS,
        2.0,
        "silence after which a link is asked whether it lives",
        least=0.05,
        most=60,
    )
    dead_after_s: float = _setting(
        Kind.SECONDS,
        10.0,
        "silence after which a link counts as dead",
        least=0.2,
        most=600,
    )
    resume_window_s: float = _setting(
        Kind.SECONDS,
        300.0,
        "how long sessions outlive their link",
        most=_DAY_S,
    )
    drain_grace_s: float = _setting(
        Kind.SECONDS,
        10.0,
        "what requests in flight get when the bridge is told to end",
        most=600,
    )
    max_links: int | None = _setting(
        Kind.COUNT,
        None,
        "links at the same time",
        least=1,
        most=65_536,
        shown="1024, or what `ulimit -n` allows",
    )
    max_channels: int = _setting(
        Kind.COUNT,
        1024,
        "channels, shared and mirrored, at the same time",
        least=1,
        most=65_536,
    )
    max_slot_bytes: int = _setting(
        Kind.COUNT,
        256 * 2**20,
        "room for one message in a slot that another machine wants here; a channel "
        "has two slots, each with room for two messages",
        metavar="BYTES",
        shown="268435456",
        least=1,
        most=MAX_SLOT_PAYLOAD_BYTES,
    )
    health: Endpoint | None = _setting(  # noqa: RUF009 - as the others
        Kind.ENDPOINT,
        None,
        "where /livez, /readyz and /metrics are answered over HTTP",
        metavar="HOST:PORT",
        shown="off",
    )
    log_json: bool = _setting(Kind.SWITCH, False, "log one JSON object a line")
    verbose: bool = _setting(Kind.SWITCH, False, "log more")

    @property
    def dials_tls(self) -> bool:
        """Whether it dials with TLS."""
        return self.tls or self.tls_ca is not None or self.tls_fingerprint is not None

    @property
    def listens_tls(self) -> bool:
        """Whether it listens with TLS."""
        return self.tls_cert is not None

    def links_limit(self) -> int:
        """Return how many links there may be at the same time."""
        if self.max_links is not None:
            return self.max_links
        if sys.platform == "win32":
            return _MOST_LINKS
        import resource

        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors == resource.RLIM_INFINITY:
            return _MOST_LINKS
        return max(1, min(_MOST_LINKS, descriptors - _DESCRIPTORS_KEPT))


SETTINGS: Final = tuple(
    Setting(each.name, *each.metadata["facts"]) for each in fields(BridgeSettings)
)
"""The table, in the order of the fields."""


# ---------------------------------------------------------------------------- rules


def check_settings(settings: BridgeSettings) -> BridgeSettings:
    """Return the settings if they agree with each other.

    Raises:
        SettingsError: They do not, or there is nothing to do.
        AuthError: Others could reach the bridge, or what it says, without a token and
            TLS, and nobody insisted.
    """
    if not settings.listen and not settings.connect:
        raise SettingsError(
            "a bridge listens, dials or does both. On one machine:\n"
            "  rlay bridge --listen 0.0.0.0:7450 --token-file rlay.token --tls-cert "
            "rlay.crt --tls-key rlay.key\n"
            "and on the other one:\n"
            "  rlay bridge --connect HOST:7450 --token-file rlay.token "
            "--tls-ca rlay.crt"
        )
    _check_numbers(settings)
    _check_tls(settings)
    _check_exposure(settings)
    return settings


def _check_numbers(settings: BridgeSettings) -> None:
    if any(endpoint.port == 0 for endpoint in settings.connect):
        raise SettingsError("connect: nobody listens on port 0")
    shortest = _BEATS_BEFORE_DEATH * settings.heartbeat_s
    if settings.dead_after_s < shortest:
        raise SettingsError(
            f"dead_after_s is {settings.dead_after_s:g}, but must be at least "
            f"{_BEATS_BEFORE_DEATH} times heartbeat_s, {shortest:g}: one heartbeat "
            "that is late must not end a link"
        )
    try:
        if settings.prefix:
            check_name(settings.prefix + "x")
    except ChannelError as error:
        raise SettingsError(f"prefix {settings.prefix!r}: {error}") from None
    if not settings.share or not all(settings.share):
        raise SettingsError("share: an empty pattern matches no channel")


def _check_tls(settings: BridgeSettings) -> None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        given, missing = "tls_cert", "tls_key"
        if settings.tls_cert is None:
            given, missing = missing, given
        raise SettingsError(
            f"{given} is given without {missing}: a certificate and its key are of "
            "use together only. Make a pair with: rlay cert new"
        )
    if settings.tls_ca is not None and settings.tls_fingerprint is not None:
        raise SettingsError(
            "tls_ca and tls_fingerprint are both given: a dialer checks the one or "
            "the other"
        )
    if settings.tls_client_ca is not None and not (
        settings.listen and settings.listens_tls
    ):
        raise SettingsError(
            "tls_client_ca is given, but the bridge does not listen with TLS: give "
            "listen, tls_cert and tls_key too"
        )


def _check_exposure(settings: BridgeSettings) -> None:
    if settings.insecure:
        return
    for endpoint in settings.listen:
        lacks = _lacking(settings, tls=settings.listens_tls)
        if lacks and not is_loopback(endpoint.host):
            raise AuthError(
                f"listening at {endpoint} is refused: others can reach it, and there "
                f"is no {lacks}. Run:\n"
                "  rlay token new rlay.token\n"
                f"  rlay cert new --host NAME\n"
                f"  rlay bridge --listen {endpoint} --token-file rlay.token --tls-cert "
                "rlay.crt --tls-key rlay.key\n"
                f"Or listen at 127.0.0.1:{endpoint.port}. In a network that only you "
                "can reach, --insecure does without"
            )
    for endpoint in settings.connect:
        lacks = _lacking(settings, tls=settings.dials_tls)
        if lacks and not is_loopback(endpoint.host):
            raise AuthError(
                f"dialing {endpoint} is refused: others can read and change what is "
                f"said on the way, and there is no {lacks}. Copy rlay.token and "
                "rlay.crt from the machine that listens, and run:\n"
                f"  rlay bridge --connect {endpoint} --token-file rlay.token "
                "--tls-ca rlay.crt\n"
                "In a network that only you can reach, --insecure does without"
            )
    if settings.health is not None and not is_loopback(settings.health.host):
        raise AuthError(
            f"answering health requests at {settings.health} is refused: anybody could "
            f"read them. Use 127.0.0.1:{settings.health.port}, and in a container "
            "let the health check run: rlay health. Or insist with --insecure"
        )


def _lacking(settings: BridgeSettings, *, tls: bool) -> str:
    """Say what is missing, "" where nothing is."""
    lacks = [] if settings.token_file is not None else ["token"]
    if not tls:
        lacks.append("TLS")
    return " and no ".join(lacks)


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine can be at the other end of it.

    A name other than localhost may lead anywhere, tomorrow if not today.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
