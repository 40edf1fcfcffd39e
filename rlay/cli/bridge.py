"""``rlay bridge``: channels of this machine on another one."""

import sys
from collections.abc import Callable
from typing import Any, Final

import click

from rlay.bridge.setting_sources import CONFIG_VARIABLE, load_settings
from rlay.bridge.settings import SETTINGS, BridgeSettings, Kind, Setting, SettingsError

_LISTS: Final = (Kind.TEXTS, Kind.ENDPOINTS)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--config`` and an option for every setting; all are text here."""
    for setting in reversed(SETTINGS):
        command = setting_option(setting)(command)
    return click.option(
        "--config",
        metavar="FILE",
        help=f"A TOML file with settings. Default: ${CONFIG_VARIABLE}.",
    )(command)


def setting_option(
    setting: Setting,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds the option of one setting to a command."""
    text = setting.text[0].upper() + setting.text[1:] + "."
    if setting.kind is Kind.SWITCH:
        return click.option(
            "/".join(setting.options), setting.name, default=None, help=text
        )
    if setting.kind in _LISTS:
        text += " May be repeated."
    if setting.shown_default not in ("none", "off"):
        text += f" Default: {setting.shown_default.replace('`', '')}."
    return click.option(
        setting.option,
        setting.name,
        metavar=setting.metavar,
        multiple=setting.kind in _LISTS,
        help=text,
    )


def settings_of(options: dict[str, Any], config: str | None) -> BridgeSettings:
    """Return the settings.

    Raises:
        click.UsageError: One of them is not what it can be.
        AuthError: Others could reach the bridge; see the rules of the settings.
    """
    try:
        return load_settings(options, config=config)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


@click.command()
@settings_options
def bridge(config: str | None, **options: Any) -> int:
    """Mirror channels between this machine and others.

    \b
    On one machine:    rlay bridge --listen 0.0.0.0:7450 --token-file rlay.token
                         --tls-cert rlay.crt --tls-key rlay.key
    On the other one:  rlay bridge --connect HOST:7450 --token-file rlay.token
                         --tls-ca rlay.crt

    Every channel of the one is then on the other too, by the same name, in both
    directions. rlay token new and rlay cert new make the files.

    Every option is also a variable, RLAY_BRIDGE_LISTEN for --listen, and a key of the
    file that --config names. It runs until it is stopped: Ctrl-C or SIGTERM let the
    requests in flight be answered; SIGHUP reads token and certificates again.
    """  # noqa: D301 - click reads the backspaces
    from rlay.bridge import run

    settings = settings_of(options, config)
    start_log(settings)
    return run(settings)


def start_log(settings: BridgeSettings) -> None:
    """Send the log to stderr, as the settings say."""
    from rlay.cli.log_lines import JsonLines, TextLines
    from rlay.cli.log_writer import configure

    lines = JsonLines() if settings.log_json else TextLines()
    configure(sys.stderr, lines, verbose=settings.verbose)
