"""Where settings come from: the command line, else the environment, else a file."""

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, Final

from rlay.bridge.settings import (
    SETTINGS,
    VARIABLE_PREFIX,
    BridgeSettings,
    Kind,
    Setting,
    SettingsError,
    check_settings,
)
from rlay.errors import ChannelError
from rlay.protocol.addresses import parse_endpoint

CONFIG_VARIABLE: Final = VARIABLE_PREFIX + "CONFIG"
MAX_FILE_BYTES: Final = 256 * 1024

_ON: Final = frozenset({"1", "true", "yes", "on"})
_OFF: Final = frozenset({"0", "false", "no", "off"})
# Kubernetes sets these for a service called rlay-bridge, in every pod of its namespace.
_OF_KUBERNETES: Final = re.compile(VARIABLE_PREFIX + r"(SERVICE_|PORT(_|$))")
_PATHS: Final = (Kind.PATH,)
_LISTS: Final = (Kind.TEXTS, Kind.ENDPOINTS)


def load_settings(
    options: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    config: str | None = None,
) -> BridgeSettings:
    """Return the settings, checked: the command line goes first, a file last.

    Args:
        options: From the command line, by the names of settings: text, a sequence of
            texts, or a bool. None and an empty sequence are not given.
        environment: None for that of this process. An empty variable is not given.
        config: A TOML file; None for that in ``RLAY_BRIDGE_CONFIG``, if any.

    Raises:
        SettingsError: A setting is unknown, is not what it can be, or does not agree
            with another one; or the file cannot be read.
        AuthError: See :func:`rlay.bridge.settings.check_settings`.
    """
    return check_settings(gather_settings(options, environment, config))


def gather_settings(
    options: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    config: str | None = None,
) -> BridgeSettings:
    """Return the settings as :func:`load_settings`, not checked with each other."""
    variables = os.environ if environment is None else environment
    path = config or variables.get(CONFIG_VARIABLE)
    values = _from_file(path) if path else {}
    values |= _from_environment(variables)
    values |= _from_options(options)
    return BridgeSettings(**values)


# --------------------------------------------------------------------- the three


def _from_options(options: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for setting in SETTINGS:
        given = options.get(setting.name)
        if given is not None and given != ():
            values[setting.name] = _convert(setting, given, setting.option)
    return values


def _from_environment(variables: Mapping[str, str]) -> dict[str, Any]:
    known = {CONFIG_VARIABLE}
    values = {}
    for setting in SETTINGS:
        known.update(setting.variables)
        for variable in setting.variables:
            text = variables.get(variable)
            if text and setting.name not in values:
                values[setting.name] = _convert(
                    setting, _split(setting, text), variable
                )
    for name in sorted(set(variables) - known):
        if name.startswith(VARIABLE_PREFIX) and not _OF_KUBERNETES.match(name):
            raise SettingsError(f"unknown variable {name}{_nearest(name, known)}")
    return values


def _split(setting: Setting, text: str) -> Any:
    """Return the texts of a list: in a variable they are separated by commas."""
    if setting.kind not in _LISTS:
        return text
    return [part for part in re.split(r"[,\s]+", text) if part]


def _from_file(path: str) -> dict[str, Any]:
    table = _read_toml(path)
    known = {setting.name: setting for setting in SETTINGS}
    values = {}
    for key, found in table.items():
        where = f"{path}: {key}"
        if key == "token":
            raise SettingsError(
                f"{where} is refused: a token stands in a file of its own, of mode "
                "0600, which token_file names. Make one with: rlay token new"
            )
        if key not in known:
            raise SettingsError(
                f"unknown setting {key!r} in {path}{_nearest(key, set(known))}"
            )
        value = _convert(known[key], found, where)
        if known[key].kind in _PATHS:  # so that the file works wherever one stands
            value = os.path.join(os.path.dirname(os.path.abspath(path)), value)
        values[key] = value
    return values


def _read_toml(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError(f"{path} has more than {MAX_FILE_BYTES} bytes")
        return tomllib.loads(content.decode())
    except (OSError, ValueError) as error:  # what TOML and UTF-8 raise is a ValueError
        if isinstance(error, SettingsError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"{path} cannot be read: {reason}") from error


def _nearest(name: str, known: set[str]) -> str:
    found = difflib.get_close_matches(name, known, 1, 0.4)
    return f": did you mean {found[0]}?" if found else ""


# -------------------------------------------------------------------- one setting


def _convert(setting: Setting, given: Any, where: str) -> Any:
    """Return what a setting's field holds, from text or from a value of TOML.

    Raises:
        SettingsError: It is nothing of the kind; the message begins with ``where``.
    """
    try:
        return _CONVERSIONS[setting.kind](setting, given)
    except (TypeError, ValueError, OverflowError, ChannelError) as error:
        raise SettingsError(f"{where}: {error}") from None


def _text(setting: Setting, given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{given!r} is no text")
    if not given:
        raise ValueError("it is empty")
    if not given.isprintable():
        raise ValueError(f"{given!r} holds what cannot be printed")
    return given


def _texts(setting: Setting, given: Any) -> tuple[str, ...]:
    parts = [given] if isinstance(given, str) else given
    if not isinstance(parts, (list, tuple)):
        raise TypeError(f"{given!r} is neither a text nor a list of texts")
    return tuple(_text(setting, part) for part in parts)


def _endpoint(setting: Setting, given: Any) -> Any:
    return parse_endpoint(_text(setting, given))


def _endpoints(setting: Setting, given: Any) -> Any:
    return tuple(parse_endpoint(text) for text in _texts(setting, given))


def _switch(setting: Setting, given: Any) -> bool:
    if isinstance(given, bool):
        return given
    word = given.lower() if isinstance(given, str) else ""
    if word in _ON or word in _OFF:
        return word in _ON
    raise ValueError(f"{given!r} is neither true nor false")


def _seconds(setting: Setting, given: Any) -> float:
    return _within(setting, _number(given, float, "a number"))


def _count(setting: Setting, given: Any) -> int:
    return int(_within(setting, _number(given, int, "a whole number")))


def _number(given: Any, kind: type[int] | type[float], what: str) -> float:
    takes = (int, str) if kind is int else (int, float, str)
    if isinstance(given, bool) or not isinstance(given, takes):
        raise TypeError(f"{given!r} is not {what}")
    try:
        return kind(given)
    except (ValueError, OverflowError):
        raise ValueError(f"{given!r} is not {what}") from None


def _within(setting: Setting, number: float) -> float:
    if not setting.least <= number <= setting.most or math.isnan(number):
        raise ValueError(
            f"{number:.15g} is not between {setting.least:.15g} and {setting.most:.15g}"
        )
    return number


_CONVERSIONS: Final[Mapping[Kind, Callable[[Setting, Any], Any]]] = {
    Kind.TEXT: _text,
    Kind.TEXTS: _texts,
    Kind.ENDPOINT: _endpoint,
    Kind.ENDPOINTS: _endpoints,
    Kind.PATH: _text,
    Kind.SWITCH: _switch,
    Kind.SECONDS: _seconds,
    Kind.COUNT: _count,
}
